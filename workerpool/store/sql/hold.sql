-- hold: a worker stays at a checkpoint. Parameters: worker text, revision, version bigint. Locks: its row.
-- One row; false: another version is in force by now.
SELECT {schema}.hold(%(worker)s::text, %(revision)s::bigint, %(version)s::bigint)
