-- renew_tokens: lengthen the leases of tokens. Parameters: ids uuid[], lease interval. Locks: their rows.
-- Rows: the tokens that still count; one that is missing is lost, and stays so.
SELECT id FROM {schema}.renew_tokens(%(ids)s::uuid[], %(lease)s::interval) AS id
