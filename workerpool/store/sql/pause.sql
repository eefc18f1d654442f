-- pause: ask for a pause, or change what this holder asked for before. Waits at most 5 s for running claims (R13).
-- Parameters: scope, mode, reason, who, holder text, until timestamptz (null: none). Locks: the pause. One row: the version in force.
SELECT {schema}.pause(%(scope)s::text, %(mode)s::text, %(reason)s::text, %(who)s::text, %(holder)s::text, %(until)s::timestamptz) AS version
