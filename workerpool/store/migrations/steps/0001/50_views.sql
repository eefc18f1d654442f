-- Views for people.

CREATE VIEW {schema}.queue_status AS
SELECT status, handler, count(*) AS revisions, min(created_at) AS oldest
FROM {schema}.revisions GROUP BY status, handler ORDER BY status, handler;

CREATE VIEW {schema}.item_status AS
WITH RECURSIVE item AS (
    (SELECT r.item_key::text FROM {schema}.revisions r
     WHERE r.status = 'pending' ORDER BY r.item_key LIMIT 1)
    UNION ALL
    SELECT x.item_key FROM item CROSS JOIN LATERAL (
        SELECT r.item_key::text FROM {schema}.revisions r
        WHERE r.status = 'pending' AND r.item_key > item.item_key ORDER BY r.item_key LIMIT 1) x
), known AS (
    SELECT item_key FROM item UNION SELECT item_key::text FROM {schema}.revisions WHERE status = 'processing'
    UNION SELECT item_key::text FROM {schema}.items
)
SELECT k.item_key, head.id AS head_id, line.waiting + (running.id IS NOT NULL)::integer AS depth, running.id AS processing_id,
       least(line.oldest_created_at, running.created_at) AS oldest_created_at, i.halted_at,
       coalesce(history.revision_number, 0) AS current_revision_number,
       CASE WHEN head.id IS NULL THEN NULL
            WHEN running.id IS NOT NULL THEN 'revision ' || running.id || ' is processing on ' || running.worker_id
            WHEN i.halted_at IS NOT NULL THEN 'the item is halted: ' || i.halt_reason
            WHEN head.parked = 'due' AND head.attempt = 0 THEN 'its time: ' || head.run_at
            WHEN head.parked = 'due' THEN 'retry after ' || coalesce(head.error_kind, 'error') || ', due at ' || head.run_at
            WHEN head.parked = 'behind' THEN 'being looked at again: the revision before it has just ended'
            WHEN NOT EXISTS (SELECT 1 FROM {schema}.workers w WHERE w.is_active AND head.handler = ANY (w.handlers))
                THEN 'no living worker has the handler ' || quote_literal(head.handler)
            WHEN EXISTS (SELECT 1 FROM {schema}.pause_state p WHERE p.paused) THEN 'the pool is paused'
            ELSE 'a free worker' END AS waiting_for
FROM known k
LEFT JOIN {schema}.items i ON i.item_key = k.item_key
LEFT JOIN LATERAL (SELECT r.id, r.parked, r.run_at, r.attempt, r.handler, r.error_kind FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'pending' ORDER BY r.id LIMIT 1) head ON true
LEFT JOIN LATERAL (SELECT r.id, r.worker_id, r.created_at FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'processing') running ON true
LEFT JOIN LATERAL (SELECT count(*) AS waiting, min(r.created_at) AS oldest_created_at FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'pending') line ON true
LEFT JOIN LATERAL (SELECT r.revision_number FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.revision_number IS NOT NULL
                   ORDER BY r.revision_number DESC LIMIT 1) history ON true;

CREATE VIEW {schema}.stuck_revisions AS
SELECT r.id, r.item_key, r.handler, r.status, r.attempt, r.worker_id, r.started_at, r.lease_expires_at,
       CASE WHEN r.status = 'processing' THEN 'its lease ran out ' || date_trunc('second', clock_timestamp() - r.lease_expires_at) || ' ago'
            ELSE 'no living worker has the handler ' || quote_literal(r.handler) END AS why
FROM {schema}.revisions r
WHERE (r.status = 'processing' AND r.lease_expires_at < clock_timestamp())
   OR (r.status = 'pending' AND r.parked IS NULL AND r.created_at < clock_timestamp() - interval '10 seconds'
       AND NOT EXISTS (SELECT 1 FROM {schema}.workers w WHERE w.is_active AND r.handler = ANY (w.handlers)));

-- What runs now, and whether it stays at a checkpoint for the pause that is in force. A row of a dead host is lost, until it is rescued.
CREATE VIEW {schema}.running_revisions AS
SELECT r.id, r.item_key::text, r.handler::text, r.worker_id, r.attempt::integer, r.current_step, r.started_at,
       r.lease_expires_at < clock_timestamp() AS stale,
       coalesce(w.state = 'paused' AND w.current_revision_id = r.id AND w.pause_version = s.version, false) AS held,
       r.lease_expires_at < clock_timestamp()
           AND coalesce(w.state = 'gone' OR w.last_heartbeat < clock_timestamp() - interval '5 minutes', true) AS lost
FROM {schema}.revisions r CROSS JOIN {schema}.pause_state s LEFT JOIN {schema}.workers w ON w.id = r.worker_id
WHERE r.status = 'processing';

CREATE VIEW {schema}.active_counts AS
SELECT 'orchestrator' AS kind, count(*) AS active FROM {schema}.work_tokens t
WHERE t.kind = 'orchestrator' AND t.expires_at > clock_timestamp()
UNION ALL
SELECT 'background_worker',
       (SELECT count(*) FROM {schema}.work_tokens t WHERE t.kind = 'background_worker' AND t.expires_at > clock_timestamp())
       + (SELECT count(DISTINCT r.worker_id) FROM {schema}.running_revisions r WHERE NOT r.held AND NOT r.lost);

-- The figures of a pause.
CREATE VIEW {schema}.pause_metrics AS
SELECT s.paused, s.mode, s.reason, s.actor, s.version, s.scopes,
       CASE WHEN s.paused THEN extract(epoch FROM clock_timestamp() - s.requested_at)::double precision END AS paused_seconds,
       q.queued, r.running, r.stale_running, r.held, r.running = 0 AS is_drained
FROM {schema}.pause_state s,
     LATERAL (SELECT count(*) AS queued FROM {schema}.revisions p WHERE p.status = 'pending') q,
     LATERAL (SELECT count(*) AS running, count(*) FILTER (WHERE x.stale) AS stale_running, count(*) FILTER (WHERE x.held) AS held
              FROM {schema}.running_revisions x) r;

-- Whether one may do something disruptive (R15): paused, seen by every living worker, nothing runs outside a hold, no token is active.
CREATE VIEW {schema}.safe_state AS
SELECT s.paused, s.version, r.running, r.held, t.active_tokens, w.unaware,
       s.paused AND r.running = 0 AND t.active_tokens = 0 AND w.unaware = 0 AS is_safe
FROM {schema}.pause_state s,
     LATERAL (SELECT count(*) FILTER (WHERE NOT x.held AND NOT x.lost) AS running, count(*) FILTER (WHERE x.held) AS held
              FROM {schema}.running_revisions x) r,
     -- A renewal that is under way cannot be seen here: a token whose lease is over counts until it is swept, or for longer than any
     -- statement may take.
     LATERAL (SELECT count(*) AS active_tokens FROM {schema}.work_tokens k
              WHERE k.expires_at > clock_timestamp() - interval '1 minute') t,
     -- (In a worker that speaks HTTP, which has no process here, nothing waits that it had claimed: it need not have seen it, and may be gone.)
     LATERAL (SELECT count(*) AS unaware FROM {schema}.workers k
              WHERE k.is_active AND k.worker_pid <> 0 AND k.last_heartbeat > clock_timestamp() - interval '5 minutes'
                  AND k.pause_version < s.version) w;
