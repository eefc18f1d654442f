-- forget_requests: delete what was noted of requests and deliveries two days ago, long after anybody repeats them. Parameters: how_many integer.
-- Locks: the rows. One row: how many.
WITH receipts AS (
    DELETE FROM {schema}.receipts WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {schema}.receipts WHERE created_at < clock_timestamp() - interval '2 days' LIMIT %(how_many)s))
    RETURNING 1
), deliveries AS (
    DELETE FROM {schema}.webhook_deliveries WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {schema}.webhook_deliveries WHERE received_at < clock_timestamp() - interval '2 days' LIMIT %(how_many)s))
    RETURNING 1
)
SELECT (SELECT count(*) FROM receipts) + (SELECT count(*) FROM deliveries) AS forgotten
