-- log_after: what was logged after a line. Parameters: revision bigint (null: all), after bigint, how_many integer. No locks.
SELECT id, revision_id, attempt, at, level, message, data FROM {schema}.execution_log
WHERE id > %(after)s AND (%(revision)s::bigint IS NULL OR revision_id = %(revision)s::bigint)
ORDER BY id LIMIT %(how_many)s
