-- renew_one: lengthen one lease, by token (R16). Parameters: id bigint, token uuid, lease interval. Locks: the row. Zero rows: the claim is lost.
UPDATE {schema}.revisions r SET lease_expires_at = greatest(r.lease_expires_at, clock_timestamp() + %(lease)s::interval)
WHERE r.id = %(id)s AND r.claim_token = %(token)s AND r.lease_expires_at IS NOT NULL
RETURNING r.lease_expires_at, r.cancel_requested_at IS NOT NULL AS cancelling
