-- fire_schedule: enqueue the times of a schedule and say when it is due next, unless another host was first or the pool is paused (R12).
-- Parameters: name text, was, next timestamptz (as read, and new), times timestamptz[]. Locks: its row.
-- One row: whether it was ours, and the revisions. Behind the comparison stands the dedupe key of each time.
WITH guard AS MATERIALIZED (SELECT {schema}.may_work() AS open
), moved AS (
    UPDATE {schema}.schedules s
    SET next_run = %(next)s::timestamptz,
        last_run = coalesce((SELECT max(t) FROM unnest(%(times)s::timestamptz[]) AS t), s.last_run)
    WHERE (SELECT g.open FROM guard g) AND s.name = %(name)s AND s.next_run IS NOT DISTINCT FROM %(was)s::timestamptz
    RETURNING s.name, s.item_key, s.handler, s.payload, s.priority
), added AS (
    INSERT INTO {schema}.revisions (item_key, handler, payload, priority, dedupe_key, metadata)
    SELECT m.item_key, m.handler, m.payload, m.priority,
           'schedule ' || m.name || ' ' || to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           jsonb_build_object('source', 'schedule ' || m.name, 'scheduled_for', t)
    FROM moved m CROSS JOIN unnest(%(times)s::timestamptz[]) AS t ORDER BY t
    ON CONFLICT (item_key, dedupe_key)
        WHERE dedupe_key IS NOT NULL AND status IN ('draft', 'scheduled', 'pending', 'processing') DO NOTHING
    RETURNING id
)
SELECT EXISTS (SELECT 1 FROM moved) AS ours, coalesce((SELECT array_agg(a.id ORDER BY a.id) FROM added a), '{}') AS ids
