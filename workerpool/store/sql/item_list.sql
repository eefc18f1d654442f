-- item_list: items with work first, then the others, each group by key. Parameters: how_many integer. No locks.
-- Steps over the keys with the indexes, so that the cost grows with how_many and not with the queue.
WITH RECURSIVE line AS (
    (SELECT r.item_key::text, 1 AS n FROM {schema}.revisions r
     WHERE r.status = 'pending' ORDER BY r.item_key LIMIT 1)
    UNION ALL
    SELECT x.item_key, l.n + 1 FROM line l CROSS JOIN LATERAL (
        SELECT r.item_key::text FROM {schema}.revisions r
        WHERE r.status = 'pending' AND r.item_key > l.item_key ORDER BY r.item_key LIMIT 1) x
    WHERE l.n < %(how_many)s
), past AS (
    (SELECT r.item_key::text, 1 AS n FROM {schema}.revisions r
     WHERE r.revision_number IS NOT NULL ORDER BY r.item_key LIMIT 1)
    UNION ALL
    SELECT x.item_key, p.n + 1 FROM past p CROSS JOIN LATERAL (
        SELECT r.item_key::text FROM {schema}.revisions r
        WHERE r.revision_number IS NOT NULL AND r.item_key > p.item_key ORDER BY r.item_key LIMIT 1) x
    WHERE p.n < 2 * %(how_many)s
), known AS (
    SELECT item_key, min(place) AS place FROM (
        SELECT item_key, 0 AS place FROM line
        UNION ALL (SELECT item_key::text, 0 FROM {schema}.revisions WHERE status = 'processing' ORDER BY item_key LIMIT %(how_many)s)
        UNION ALL SELECT item_key, 1 FROM past
        UNION ALL (SELECT item_key::text, 1 FROM {schema}.items ORDER BY item_key LIMIT 2 * %(how_many)s)) k
    GROUP BY item_key ORDER BY min(place), item_key LIMIT %(how_many)s
)
SELECT k.item_key, head.id AS head_id, running.id AS processing_id, waiting.n + (running.id IS NOT NULL)::integer AS depth,
       least(waiting.oldest, running.created_at) AS oldest_created_at,
       coalesce(history.revision_number, 0)::integer AS current_revision_number, i.halted_at, i.halt_reason,
       i.original IS NOT NULL AS has_original
FROM known k
LEFT JOIN {schema}.items i ON i.item_key = k.item_key
LEFT JOIN LATERAL (SELECT r.id FROM {schema}.revisions r WHERE r.item_key = k.item_key AND r.status = 'pending'
                   ORDER BY r.id LIMIT 1) head ON true
LEFT JOIN LATERAL (SELECT r.id, r.created_at FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'processing') running ON true
LEFT JOIN LATERAL (SELECT count(*) AS n, min(r.created_at) AS oldest FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'pending') waiting ON true
LEFT JOIN LATERAL (SELECT r.revision_number FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.revision_number IS NOT NULL ORDER BY r.revision_number DESC LIMIT 1) history ON true
ORDER BY k.place, k.item_key
