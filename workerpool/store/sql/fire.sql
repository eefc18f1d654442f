-- fire: enqueue what was to follow a revision, if it has ended. Parameters: id bigint. Locks: the continuations. One empty row.
SELECT {schema}.fire(ARRAY[%(id)s::bigint])
