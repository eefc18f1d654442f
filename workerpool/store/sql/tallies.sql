-- tallies: what all processes have counted. Parameters: how_many integer: rows at most. No locks. Rows by key.
SELECT t.name, t.handler, t.kind, t.bucket, t.value FROM {schema}.tallies t
ORDER BY t.name, t.handler, t.kind, t.bucket LIMIT %(how_many)s
