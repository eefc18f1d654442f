-- Views for people.

CREATE VIEW {schema}.queue_status AS
SELECT status, handler, count(*) AS revisions, min(created_at) AS oldest
FROM {schema}.revisions GROUP BY status, handler ORDER BY status, handler;

CREATE VIEW {schema}.item_status AS
WITH RECURSIVE item AS (
    (SELECT r.item_key::text FROM {schema}.revisions r
     WHERE r.status IN ('pending', 'processing') ORDER BY r.item_key LIMIT 1)
    UNION ALL
    SELECT x.item_key FROM item CROSS JOIN LATERAL (
        SELECT r.item_key::text FROM {schema}.revisions r
        WHERE r.status IN ('pending', 'processing') AND r.item_key > item.item_key ORDER BY r.item_key LIMIT 1) x
), known AS (
    SELECT item_key FROM item UNION SELECT item_key::text FROM {schema}.items
)
SELECT k.item_key, head.id AS head_id, line.depth, running.id AS processing_id, line.oldest_created_at, i.halted_at,
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
LEFT JOIN LATERAL (SELECT count(*) AS depth, min(r.created_at) AS oldest_created_at FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status IN ('pending', 'processing')) line ON true
LEFT JOIN LATERAL (SELECT r.id, r.worker_id FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'processing') running ON true
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

CREATE VIEW {schema}.active_counts AS
SELECT 'orchestrator' AS kind, count(*) AS active FROM {schema}.work_tokens t
WHERE t.kind = 'orchestrator' AND t.expires_at > clock_timestamp()
UNION ALL
SELECT 'background_worker',
       (SELECT count(*) FROM {schema}.work_tokens t WHERE t.kind = 'background_worker' AND t.expires_at > clock_timestamp())
       + (SELECT count(DISTINCT r.worker_id) FROM {schema}.revisions r WHERE r.status = 'processing');

CREATE VIEW {schema}.safe_state AS
SELECT s.paused, s.version, running.n AS running, held.n AS held, tokens.n AS active_tokens,
       s.paused AND running.n = 0 AND tokens.n = 0 AS is_safe
FROM {schema}.pause_state s,
     LATERAL (SELECT count(*) AS n FROM {schema}.revisions r WHERE r.status = 'processing') running,
     LATERAL (SELECT count(*) AS n FROM {schema}.workers w WHERE w.state = 'paused' AND w.current_revision_id IS NOT NULL) held,
     LATERAL (SELECT count(*) AS n FROM {schema}.work_tokens t WHERE t.expires_at > clock_timestamp()) tokens;
