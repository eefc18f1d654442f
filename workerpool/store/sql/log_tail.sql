-- log_tail: the last lines of the execution log, oldest first.
-- Parameters: revision bigint (null: all), since interval (null: from the beginning), how_many integer. No locks.
SELECT * FROM (
    SELECT id, revision_id, attempt, at, level, message, data FROM {schema}.execution_log
    WHERE (%(revision)s::bigint IS NULL OR revision_id = %(revision)s::bigint)
      AND (%(since)s::interval IS NULL OR at >= clock_timestamp() - %(since)s::interval)
    ORDER BY id DESC LIMIT %(how_many)s) tail
ORDER BY id
