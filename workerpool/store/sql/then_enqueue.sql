-- then_enqueue: an attempt says what is to be enqueued when its revision ends; fenced by its token.
-- Parameters: id bigint, token uuid, attempt integer, item_key, handler text, payload json text, fires_on text.
-- Locks: the revision's row, shared. One row; null: the claim is lost.
SELECT {schema}.then_enqueue(%(id)s::bigint, %(token)s::uuid, %(attempt)s::integer, %(item_key)s::text, %(handler)s::text,
    %(payload)s::jsonb, %(fires_on)s::text)
