-- top_items: items for who watches in a terminal: those that run, then those that are halted, then those that wait, each group by key.
-- Parameters: how_many integer, most integer: what waits of an item is counted to it and one more. No locks.
-- Steps over the keys with the indexes: its cost grows with these two, not with the queue or the depth of an item. To be sent after in_order.
WITH RECURSIVE line AS (
    (SELECT r.item_key::text, 1 AS n FROM {schema}.revisions r
     WHERE r.status = 'pending' ORDER BY r.item_key, r.id LIMIT 1)
    UNION ALL
    SELECT x.item_key, l.n + 1 FROM line l CROSS JOIN LATERAL (
        SELECT r.item_key::text FROM {schema}.revisions r
        WHERE r.status = 'pending' AND r.item_key > l.item_key ORDER BY r.item_key, r.id LIMIT 1) x
    WHERE l.n < 2 * %(how_many)s
), known AS (
    SELECT k.item_key, min(k.place) AS place FROM (
        (SELECT r.item_key::text, 0 AS place FROM {schema}.revisions r
         WHERE r.status = 'processing' ORDER BY r.item_key LIMIT %(how_many)s)
        UNION ALL (SELECT i.item_key::text, 1 FROM {schema}.items i WHERE i.halted_at IS NOT NULL ORDER BY i.item_key LIMIT %(how_many)s)
        UNION ALL SELECT l.item_key, 2 FROM line l) k
    GROUP BY k.item_key ORDER BY min(k.place), k.item_key LIMIT %(how_many)s
)
SELECT k.item_key, running.id AS processing_id, head.id AS head_id, waiting.n + (running.id IS NOT NULL)::integer AS depth,
       i.halted_at, i.halt_reason
FROM known k
LEFT JOIN {schema}.items i ON i.item_key = k.item_key
LEFT JOIN LATERAL (SELECT r.id FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'pending' ORDER BY r.item_key, r.id LIMIT 1) head ON true
LEFT JOIN LATERAL (SELECT r.id FROM {schema}.revisions r
                   WHERE r.item_key = k.item_key AND r.status = 'processing' ORDER BY r.item_key LIMIT 1) running ON true
LEFT JOIN LATERAL (SELECT count(*) AS n FROM (
                       SELECT 1 FROM {schema}.revisions r
                       WHERE r.item_key = k.item_key AND r.status = 'pending' ORDER BY r.item_key, r.id LIMIT %(most)s + 1) w) waiting ON true
ORDER BY k.place, k.item_key
