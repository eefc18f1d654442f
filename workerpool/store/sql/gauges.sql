-- gauges: the pool at this moment, for who measures it. Its cost does not grow with the queue: of the candidates of each handler and
-- priority the first hundred are looked at. To be sent after in_order, else old statistics make it collect them all first.
-- Parameters: silence interval (a worker not seen for longer is silent). No locks. One row: the pause of all and its age in seconds, how
--   many handlers and hosts are paused beside; the age of the oldest head that could be claimed; halted items (counted to 100,000);
--   revisions whose lease ran out; JSON: workers (host, state, workers), busy (host, workers), handlers that somebody has.
WITH RECURSIVE place AS (
    (SELECT r.handler, -(r.priority::integer) AS rank, 1 AS n FROM {schema}.revisions r
     WHERE r.status = 'pending' AND r.parked IS NULL ORDER BY r.handler, -(r.priority::integer), r.id LIMIT 1)
    UNION ALL
    SELECT x.handler, x.rank, p.n + 1 FROM place p CROSS JOIN LATERAL (
        SELECT r.handler, -(r.priority::integer) AS rank FROM {schema}.revisions r
        WHERE r.status = 'pending' AND r.parked IS NULL AND (r.handler, -(r.priority::integer)) > (p.handler, p.rank)
        ORDER BY r.handler, -(r.priority::integer), r.id LIMIT 1) x
    WHERE p.n < 200
), candidate AS (
    SELECT c.id, c.item_key, c.since FROM place p CROSS JOIN LATERAL (
        SELECT r.id, r.item_key, greatest(r.created_at, r.run_at) AS since FROM {schema}.revisions r
        WHERE r.handler = p.handler AND r.status = 'pending' AND r.parked IS NULL AND -(r.priority::integer) = p.rank
        ORDER BY r.id LIMIT 100) c
    UNION ALL
    -- (nobody has made these candidates yet, as nobody claims; the instant is one that an index can be asked for)
    SELECT d.id, d.item_key, d.run_at FROM (
        SELECT r.id, r.item_key, r.run_at FROM {schema}.revisions r
        WHERE (r.status = 'scheduled' OR r.parked = 'due') AND r.run_at <= statement_timestamp()
        ORDER BY r.run_at LIMIT 100) d
)
SELECT s.paused, s.mode, cardinality(s.scopes) AS scopes,
       CASE WHEN s.paused THEN extract(epoch FROM clock_timestamp() - s.requested_at)::double precision ELSE 0 END AS pause_age,
       (SELECT greatest(0, extract(epoch FROM clock_timestamp() - min(c.since)))::double precision FROM candidate c
        WHERE (SELECT p.id FROM {schema}.revisions p WHERE p.item_key >= c.item_key AND p.item_key <= c.item_key AND p.status = 'pending'
               AND p.id < c.id ORDER BY p.item_key, p.id LIMIT 1) IS NULL
          AND (SELECT p.id FROM {schema}.revisions p WHERE p.item_key = c.item_key AND p.status = 'processing' LIMIT 1) IS NULL
          AND (SELECT 1 FROM {schema}.items i WHERE i.item_key = c.item_key AND i.halted_at IS NOT NULL LIMIT 1) IS NULL) AS head_age,
       (SELECT count(*) FROM (SELECT 1 FROM {schema}.items i WHERE i.halted_at IS NOT NULL ORDER BY i.item_key LIMIT 100000) h) AS halted,
       runs.expired, runs.busy,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(w.host, w.state, w.workers)), '[]')
        FROM (SELECT k.host, count(*) AS workers,
                     CASE WHEN k.last_heartbeat < clock_timestamp() - %(silence)s::interval THEN 'silent' ELSE k.state END AS state
              FROM {schema}.workers k WHERE k.is_active GROUP BY 1, 3) w) AS workers,
       (SELECT coalesce(jsonb_agg(DISTINCT h), '[]') FROM {schema}.workers k, unnest(k.handlers) AS h WHERE k.is_active) AS handlers
FROM {schema}.pause_state s,
     LATERAL (SELECT coalesce(sum(b.expired), 0)::bigint AS expired,
                     coalesce(jsonb_agg(jsonb_build_array(b.host, b.workers)) FILTER (WHERE b.workers > 0), '[]') AS busy
              FROM (SELECT split_part(r.worker_id, '/', 1) AS host,
                           count(*) FILTER (WHERE r.lease_expires_at < clock_timestamp()) AS expired,
                           count(DISTINCT r.worker_id) FILTER (WHERE r.lease_expires_at >= clock_timestamp()) AS workers
                    FROM {schema}.revisions r WHERE r.status = 'processing' GROUP BY 1) b) runs
