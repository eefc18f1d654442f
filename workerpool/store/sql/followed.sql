-- followed: the revision that a continuation became; null: none yet. Parameters: id bigint. No locks. Zero rows: there is no such continuation.
SELECT enqueued_id FROM {schema}.continuations WHERE id = %(id)s
