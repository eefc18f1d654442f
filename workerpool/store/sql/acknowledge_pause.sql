-- acknowledge_pause: a worker has seen what is in force, and begins nothing that it forbids. Parameters: worker, state text (null: as before).
-- Locks: its row. One row: the version, and the pauses as JSON: scope, mode, reason of each.
SELECT version, pauses FROM {schema}.acknowledge_pause(%(worker)s::text, %(state)s::text)
