-- safety: everything that the proof of a safe state looks at, in one statement and so as of one moment (R15). No parameters, no locks.
-- One row: the pause, what runs and what is held (JSON, the longest first), workers that must have seen it (not those that speak HTTP: what
-- they have runs or is held), active tokens, what is lost.
SELECT s.paused, s.mode, s.reason, s.version, v.is_safe,
       coalesce((SELECT jsonb_agg(to_jsonb(r) - 'stale' || jsonb_build_object(
                            'seconds', extract(epoch FROM clock_timestamp() - r.started_at)) ORDER BY r.started_at)
                 FROM {schema}.running_revisions r), '[]') AS revisions,
       coalesce((SELECT jsonb_agg(jsonb_build_object('id', w.id, 'version', w.pause_version, 'state', w.state,
                            'seen', extract(epoch FROM clock_timestamp() - w.last_heartbeat)) ORDER BY w.id)
                 FROM {schema}.workers w WHERE w.is_active AND w.worker_pid <> 0), '[]') AS workers,
       coalesce((SELECT jsonb_agg(jsonb_build_object('id', t.id, 'kind', t.kind, 'holder', t.holder, 'host', t.host, 'pid', t.pid,
                            'seconds', extract(epoch FROM clock_timestamp() - t.acquired_at)) ORDER BY t.acquired_at)
                 FROM {schema}.work_tokens t WHERE t.expires_at > clock_timestamp() - interval '1 minute'), '[]') AS tokens
FROM {schema}.pause_state s, {schema}.safe_state v
