-- events: what operators did, the latest last. Parameters: control text (null: all), after bigint (null: the latest ones), how_many integer.
-- No locks.
SELECT * FROM (
    SELECT e.id, e.created_at, e.control, e.action, e.mode, e.target, e.reason, e.actor FROM {schema}.control_events e
    WHERE (%(control)s::text IS NULL OR e.control = %(control)s::text) AND (%(after)s::bigint IS NULL OR e.id > %(after)s::bigint)
    ORDER BY CASE WHEN %(after)s::bigint IS NULL THEN -e.id ELSE e.id END LIMIT %(how_many)s) latest
ORDER BY id
