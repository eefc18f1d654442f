-- expired: claims whose lease ran out, to be rescued; none soon after the server's own start, when nobody could renew (R17).
-- Parameters: lease interval, how_many integer. No locks: settle looks again under the item's lock. Rows by item, as in held_by;
--   how often one is tried is its own limit, else that of its handler, as the worker that claimed it has it (register_worker).
SELECT r.id, r.claim_token, r.worker_id, r.attempt,
       coalesce(r.max_attempts::integer, (SELECT (w.limits #>> ARRAY['', r.handler::text])::integer FROM {schema}.workers w WHERE w.id = r.worker_id)),
       r.crash_count, r.handler::text
FROM {schema}.revisions r
WHERE r.status = 'processing' AND r.lease_expires_at < clock_timestamp()
  AND pg_postmaster_start_time() < clock_timestamp() - %(lease)s::interval
ORDER BY r.item_key LIMIT %(how_many)s
