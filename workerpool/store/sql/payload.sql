-- payload: a large payload, read by token after its claim has committed (R13).
-- Parameters: id bigint, token uuid. No locks. Zero rows: the claim is lost.
SELECT payload::text FROM {schema}.revisions WHERE id = %(id)s AND claim_token = %(token)s AND status = 'processing'
