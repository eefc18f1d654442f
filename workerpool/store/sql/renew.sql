-- renew: lengthen the leases of living workers (R9, R16).
-- Parameters: workers text[], lease interval. Locks: rows by id, skipping what is locked: its owner is writing its outcome.
-- Rows: the revisions renewed, with their workers.
UPDATE {schema}.revisions r SET lease_expires_at = greatest(r.lease_expires_at, clock_timestamp() + %(lease)s::interval)
WHERE r.id = ANY (ARRAY(
    SELECT p.id FROM {schema}.revisions p
    WHERE p.status = 'processing' AND p.worker_id = ANY (%(workers)s::text[])
    ORDER BY p.id FOR NO KEY UPDATE SKIP LOCKED))
  AND r.status = 'processing'
RETURNING r.id, r.worker_id
