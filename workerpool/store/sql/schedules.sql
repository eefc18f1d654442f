-- schedules: all of them, or one. Parameters: name text (null: all). No locks. Rows by name.
SELECT s.name, s.cron, s.timezone, s.item_key::text, s.handler, s.payload, s.priority, s.missed, s.next_run, s.last_run, s.created_at
FROM {schema}.schedules s WHERE %(name)s::text IS NULL OR s.name = %(name)s::text ORDER BY s.name
