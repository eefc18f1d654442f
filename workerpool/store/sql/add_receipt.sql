-- add_receipt: note a request. Parameters: holder, purpose, key text, digest bytea, revisions bigint[].
-- Locks: an entry of its key: waits for the same request, if that is under way. Zero rows: it is known already.
INSERT INTO {schema}.receipts (holder, purpose, key, digest, revision_ids)
VALUES (%(holder)s, %(purpose)s, %(key)s, %(digest)s, %(revisions)s::bigint[])
ON CONFLICT DO NOTHING RETURNING key
