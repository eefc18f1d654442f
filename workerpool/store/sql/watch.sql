-- watch: what people watch, in one look; each part is JSON. Parameters: silence interval (a worker not seen for longer is silent). No locks.
-- Its cost does not grow with the queue: what waits is counted to 10,000 and no further.
SELECT
    (SELECT jsonb_build_object('paused', s.paused, 'mode', s.mode, 'reason', s.reason, 'actor', s.actor, 'version', s.version,
                               'requestedAt', s.requested_at, 'updatedAt', s.updated_at, 'scopes', s.scopes)
     FROM {schema}.pause_state s) AS pause,
    (SELECT jsonb_build_object(
                'pending', (SELECT count(*) FROM (SELECT 1 FROM {schema}.revisions WHERE status = 'pending' LIMIT 10001) p),
                'scheduled', (SELECT count(*) FROM (SELECT 1 FROM {schema}.revisions WHERE status = 'scheduled' OR parked = 'due' LIMIT 10001) p),
                'processing', count(*), 'stale', count(*) FILTER (WHERE x.stale), 'held', count(*) FILTER (WHERE x.held),
                'halted', (SELECT count(*) FROM {schema}.items WHERE halted_at IS NOT NULL))
     FROM {schema}.running_revisions x) AS queue,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', w.id, 'host', w.host, 'slot', w.slot, 'generation', w.generation, 'pid', w.worker_pid,
                'state', CASE WHEN w.last_heartbeat < clock_timestamp() - %(silence)s::interval THEN 'silent' ELSE w.state END,
                'revision', w.current_revision_id, 'processed', w.processed_count, 'restarts', w.restart_count, 'rss', w.rss_bytes,
                'startedAt', w.started_at) ORDER BY w.host, w.manager_id, w.slot, w.generation), '[]')
     FROM {schema}.workers w WHERE w.is_active) AS workers,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', r.id, 'itemKey', r.item_key, 'handler', r.handler, 'worker', r.worker_id, 'attempt', r.attempt,
                'percentage', r.progress_percentage, 'step', r.current_step, 'startedAt', r.started_at,
                'cancelling', r.cancel_requested_at IS NOT NULL) ORDER BY r.started_at, r.id), '[]')
     FROM (SELECT * FROM {schema}.revisions p WHERE p.status = 'processing' ORDER BY p.item_key LIMIT 200) r) AS running,
    (SELECT coalesce(max(e.id), 0) FROM {schema}.control_events e) AS events,
    -- (a sign of what ended and what was added: what workers counted, and the latest revisions with their statuses)
    jsonb_build_array((SELECT coalesce(sum(w.processed_count), 0) FROM {schema}.workers w),
                      (SELECT md5(string_agg(r.id || r.status, ' ' ORDER BY r.id))
                       FROM (SELECT l.id, l.status::text FROM {schema}.revisions l ORDER BY l.id DESC LIMIT 50) r)) AS ended,
    (SELECT coalesce(sum(w.processed_count), 0) FROM {schema}.workers w) AS counted,
    -- (a standby serves those who look; it cannot be written to)
    current_setting('transaction_read_only')::boolean AS is_read_only
