-- add_schedule: keep a schedule. Parameters: name, cron, timezone, item, handler text, payload JSON text, priority integer, missed text,
--   next timestamptz, replace boolean. Locks: its row. Zero rows: there is one of that name, and it is not to be replaced.
INSERT INTO {schema}.schedules AS s (name, cron, timezone, item_key, handler, payload, priority, missed, next_run)
VALUES (%(name)s, %(cron)s, %(timezone)s, %(item)s, %(handler)s, %(payload)s::jsonb, %(priority)s, %(missed)s, %(next)s)
ON CONFLICT (name) DO UPDATE
    SET cron = excluded.cron, timezone = excluded.timezone, item_key = excluded.item_key, handler = excluded.handler,
        payload = excluded.payload, priority = excluded.priority, missed = excluded.missed, next_run = excluded.next_run
    WHERE %(replace)s::boolean
RETURNING s.name
