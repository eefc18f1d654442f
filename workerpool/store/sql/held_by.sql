-- held_by: what the database says that a worker, or any process of a manager, holds.
-- Parameters: worker text (exact) and manager text (prefix with its slash), either may be null. No locks. Rows: the claims, by item: the
--   order of the one index that has them, so that a plan made for an empty table does not walk a full one.
SELECT id, claim_token, worker_id, attempt, max_attempts, crash_count, handler::text
FROM {schema}.revisions
WHERE status = 'processing' AND (worker_id = %(worker)s::text OR starts_with(worker_id, %(manager)s::text))
ORDER BY item_key
