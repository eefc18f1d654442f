-- expired: claims whose lease ran out, to be rescued; none soon after the server's own start, when nobody could renew (R17).
-- Parameters: lease interval, how_many integer. No locks: settle looks again under the item's lock.
SELECT id, claim_token, worker_id, attempt, max_attempts, crash_count
FROM {schema}.revisions
WHERE status = 'processing' AND lease_expires_at < clock_timestamp()
  AND pg_postmaster_start_time() < clock_timestamp() - %(lease)s::interval
ORDER BY id LIMIT %(how_many)s
