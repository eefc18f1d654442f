-- renew: lengthen the leases of living workers (R9, R16).
-- Parameters: workers text[], lease interval. Locks: rows, skipping what is locked: its owner is writing its outcome.
-- Rows: the revisions renewed, with their workers.
-- (They are found in the order of the one index that has them, and written by id alone: a row has a lease exactly while it is
-- processing. Else a plan made for an empty table walks a full one.)
UPDATE {schema}.revisions r SET lease_expires_at = greatest(r.lease_expires_at, clock_timestamp() + %(lease)s::interval)
WHERE r.id = ANY (ARRAY(
    SELECT p.id FROM {schema}.revisions p
    WHERE p.status = 'processing' AND p.worker_id = ANY (%(workers)s::text[])
    ORDER BY p.item_key FOR NO KEY UPDATE SKIP LOCKED))
  AND r.lease_expires_at IS NOT NULL
RETURNING r.id, r.worker_id
