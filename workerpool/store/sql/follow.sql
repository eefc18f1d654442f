-- follow: somebody outside says what is to be enqueued when a revision ends. The row is locked in share mode: an end that is being
-- written waits, and then finds this. Parameters: id bigint, fires_on, item, handler text, payload JSON text. Locks: the row.
-- One row, the continuation, and whether the revision has ended already; zero rows: there is no such revision.
WITH held AS (
    SELECT r.id, r.completed_at IS NOT NULL AS ended FROM {schema}.revisions r WHERE r.id = %(id)s::bigint FOR SHARE
), added AS (
    INSERT INTO {schema}.continuations (revision_id, fires_on, item_key, handler, payload)
    SELECT h.id, %(fires_on)s::text, %(item)s::text, %(handler)s::text, %(payload)s::jsonb FROM held h
    RETURNING id, revision_id
)
SELECT a.id, h.ended FROM added a JOIN held h ON h.id = a.revision_id
