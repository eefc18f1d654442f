-- waiting: the facts that say why revisions do not run. Parameters: ids bigint[], silence interval. No locks.
SELECT r.id, r.item_key::text, r.handler::text, r.status::text, r.parked::text, r.attempt::integer, r.max_attempts::integer, r.worker_id,
       r.error_kind::text, r.error_message, r.run_at, r.cancel_requested_at IS NOT NULL AS cancelling, r.current_step AS step,
       r.progress_percentage::double precision AS percent, r.revision_number::integer,
       extract(epoch FROM r.run_at - clock_timestamp())::double precision AS due_in,
       extract(epoch FROM clock_timestamp() - r.created_at)::double precision AS age,
       extract(epoch FROM clock_timestamp() - r.started_at)::double precision AS running_for,
       extract(epoch FROM clock_timestamp() - r.completed_at)::double precision AS ended_ago,
       extract(epoch FROM r.lease_expires_at - clock_timestamp())::double precision AS lease_left,
       least(head.id, running.id) AS behind, ahead.n AS ahead, i.halted_at IS NOT NULL AS halted, i.halt_reason, pauses.mine AS pauses,
       coalesce(held.held, false) AS held, pool.alive AS workers, pool.able, pool.idle, pool.free, pool.most, at_once.n AS at_once,
       r.completed_at IS NOT NULL AND EXISTS (
           SELECT 1 FROM {schema}.revisions l
           WHERE l.item_key = r.item_key AND l.id > r.id AND (l.attempt > 0 OR l.status IN ('processing', 'completed', 'failed'))) AS outrun
FROM {schema}.revisions r
LEFT JOIN {schema}.running_revisions held ON held.id = r.id
LEFT JOIN {schema}.items i ON i.item_key = r.item_key
LEFT JOIN LATERAL (SELECT b.id FROM {schema}.revisions b
                   WHERE b.item_key = r.item_key AND b.status = 'processing' AND b.id <> r.id) running ON true
LEFT JOIN LATERAL (SELECT b.id FROM {schema}.revisions b
                   WHERE b.item_key = r.item_key AND b.status = 'pending' AND b.id < r.id ORDER BY b.item_key, b.id LIMIT 1) head ON true
LEFT JOIN LATERAL (SELECT count(*) + coalesce(running.id < r.id, false)::integer AS n FROM (
                       SELECT 1 FROM {schema}.revisions b
                       WHERE b.item_key = r.item_key AND b.status = 'pending' AND b.id < r.id LIMIT 1000) s) ahead ON true
LEFT JOIN LATERAL (SELECT count(*) AS alive, count(*) FILTER (WHERE r.handler = ANY (w.handlers)) AS able,
                          count(*) FILTER (WHERE r.handler = ANY (w.handlers) AND w.state = 'idle') AS idle,
                          count(*) FILTER (WHERE r.handler = ANY (w.handlers) AND NOT EXISTS (
                              SELECT 1 FROM {schema}.pauses h WHERE h.scope = 'host:' || split_part(w.id, '/', 1))) AS free,
                          min((w.limits ->> r.handler)::integer) AS most
                   FROM {schema}.workers w
                   WHERE w.is_active AND w.last_heartbeat > clock_timestamp() - %(silence)s::interval) pool ON true
LEFT JOIN LATERAL (SELECT count(*) AS n FROM {schema}.revisions b
                   WHERE pool.most IS NOT NULL AND r.status = 'pending' AND b.status = 'processing' AND b.handler = r.handler) at_once ON true
LEFT JOIN LATERAL (SELECT jsonb_agg(jsonb_build_object(
                              'scope', p.scope, 'mode', p.mode, 'reason', p.reason, 'actor', p.actor, 'holder', p.holder, 'until', p.until,
                              'age', extract(epoch FROM clock_timestamp() - p.requested_at)) ORDER BY p.id) AS mine
                   FROM {schema}.pauses p
                   WHERE p.scope IN ('all', 'handler:' || r.handler) OR starts_with(p.scope, 'host:')) pauses ON true
WHERE r.id = ANY (%(ids)s::bigint[]) ORDER BY r.id
