-- remote_seen: a worker that speaks HTTP lives, and is told what is paused.
-- Parameters: worker text, handlers text[] (null: as before), state text, revision bigint, is_done boolean (it has ended one). Locks: its row. One row.
SELECT paused, mode, reason, version, updated_at, pauses
FROM {schema}.remote_seen(%(worker)s::text, %(handlers)s::text[], %(state)s::text, %(revision)s::bigint, %(is_done)s::boolean)
