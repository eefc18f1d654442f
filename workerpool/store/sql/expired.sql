-- expired: claims whose lease ran out, to be rescued; none soon after the server's own start, when nobody could renew (R17).
-- Parameters: lease interval, how_many integer. No locks: settle looks again under the item's lock. Rows by item, as in held_by.
SELECT id, claim_token, worker_id, attempt, max_attempts, crash_count, handler::text
FROM {schema}.revisions
WHERE status = 'processing' AND lease_expires_at < clock_timestamp()
  AND pg_postmaster_start_time() < clock_timestamp() - %(lease)s::interval
ORDER BY item_key LIMIT %(how_many)s
