-- worker_list: the worker processes. Parameters: silence interval, gone boolean (list the dead ones too). No locks.
SELECT w.id, w.host, w.slot, w.generation, w.worker_pid AS pid,
       CASE WHEN w.state <> 'gone' AND w.last_heartbeat < clock_timestamp() - %(silence)s::interval THEN 'silent' ELSE w.state END AS state,
       w.handlers, w.current_revision_id, r.item_key::text AS current_item, w.processed_count, w.restart_count, w.rss_bytes, w.started_at,
       w.last_heartbeat, extract(epoch FROM clock_timestamp() - w.started_at)::double precision AS age_seconds,
       extract(epoch FROM clock_timestamp() - w.last_heartbeat)::double precision AS seen_seconds
FROM {schema}.workers w LEFT JOIN {schema}.revisions r ON r.id = w.current_revision_id
WHERE w.is_active OR %(gone)s
ORDER BY w.is_active DESC, w.host, w.manager_id, w.slot, w.generation
