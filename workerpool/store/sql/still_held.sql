-- still_held: which of these claims are still this worker's (R23).
-- Parameters: ids bigint[], token uuid. No locks. Zero rows: all were taken away.
SELECT id FROM {schema}.revisions WHERE id = ANY (%(ids)s::bigint[]) AND claim_token = %(token)s::uuid AND status = 'processing'
