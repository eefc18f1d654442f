-- pool: the queue and its workers in one row. Parameters: silence interval (a worker not seen for longer counts as gone). No locks.
SELECT coalesce(q.counts, '{}') AS counts, q.oldest AS oldest_pending,
       extract(epoch FROM clock_timestamp() - q.oldest)::double precision AS oldest_pending_seconds,
       w.alive AS workers_alive, w.idle AS workers_idle, p.paused, p.mode AS pause_mode, p.reason AS pause_reason,
       (SELECT count(*) FROM {schema}.items WHERE halted_at IS NOT NULL) AS halted_items,
       (SELECT count(*) FROM {schema}.revisions r WHERE r.status = 'processing' AND r.lease_expires_at < clock_timestamp()) AS lease_run_out
FROM (SELECT jsonb_object_agg(status, n) AS counts, min(oldest) FILTER (WHERE status = 'pending') AS oldest
      FROM (SELECT status::text, count(*) AS n, min(created_at) AS oldest FROM {schema}.revisions GROUP BY status) s) q,
     (SELECT count(*) AS alive, count(*) FILTER (WHERE state = 'idle') AS idle FROM {schema}.workers
      WHERE is_active AND last_heartbeat > clock_timestamp() - %(silence)s::interval) w,
     {schema}.pause_state p
