-- unhandled: pending revisions whose handler no living worker has had for a while (R25).
-- Where no worker lives at all nobody can tell what is missing, so nothing fails: one bad deployment must not empty a queue.
-- Parameters: patience interval, how_many integer. No locks. Walks the handlers, not the backlog.
WITH RECURSIVE waiting AS (
    (SELECT r.handler::text AS handler FROM {schema}.revisions r
     WHERE r.status = 'pending' AND r.parked IS NULL ORDER BY r.handler LIMIT 1)
    UNION ALL
    SELECT x.handler FROM waiting w CROSS JOIN LATERAL (
        SELECT r.handler::text AS handler FROM {schema}.revisions r
        WHERE r.status = 'pending' AND r.parked IS NULL AND r.handler > w.handler ORDER BY r.handler LIMIT 1) x
), nobody AS MATERIALIZED (
    SELECT w.handler FROM waiting w
    WHERE EXISTS (SELECT 1 FROM {schema}.workers k WHERE k.is_active AND k.handlers <> '{}')
      AND NOT EXISTS (
        SELECT 1 FROM {schema}.workers k
        WHERE w.handler = ANY (k.handlers)
          AND (k.is_active OR k.last_heartbeat > clock_timestamp() - %(patience)s::interval))
)
SELECT r.id, n.handler,
       (SELECT array_agg(DISTINCT h ORDER BY h) FROM {schema}.workers k, unnest(k.handlers) h WHERE k.is_active)
FROM nobody n CROSS JOIN LATERAL (
    SELECT p.id FROM {schema}.revisions p
    WHERE p.handler = n.handler AND p.status = 'pending' AND p.parked IS NULL
      AND greatest(p.created_at, p.run_at) < clock_timestamp() - %(patience)s::interval
    ORDER BY -(p.priority::integer), p.id LIMIT %(how_many)s) r
LIMIT %(how_many)s
