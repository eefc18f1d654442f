-- mark_gone: these workers are dead, and so is whoever nobody has seen for long; rows of the dead go after a day.
-- Parameters: ids text[], silence interval. Locks: the rows.
WITH old AS (
    DELETE FROM {schema}.workers WHERE state = 'gone' AND last_heartbeat < clock_timestamp() - interval '1 day'
)
UPDATE {schema}.workers SET state = 'gone', current_revision_id = NULL
WHERE state <> 'gone' AND (id = ANY (%(ids)s::text[]) OR last_heartbeat < clock_timestamp() - %(silence)s::interval)
