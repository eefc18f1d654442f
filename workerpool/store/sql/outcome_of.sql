-- outcome_of: whether outcomes whose answer was lost had been written: the token stays on a finished row.
-- Parameters: ids bigint[]. No locks.
SELECT id, claim_token, status FROM {schema}.revisions WHERE id = ANY (%(ids)s::bigint[])
