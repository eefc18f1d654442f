-- item: an item and how much there is of it. Parameters: item text. No locks. One row; known false: nothing was ever heard of it.
SELECT k.item_key, i.original, i.halted_at, i.halt_reason, i.created_at, counted.revisions, counted.processing,
       i.item_key IS NOT NULL OR counted.revisions > 0 AS known
FROM (SELECT %(item)s::text AS item_key) k
LEFT JOIN {schema}.items i ON i.item_key = k.item_key
CROSS JOIN LATERAL (SELECT count(*) AS revisions, count(*) FILTER (WHERE r.status = 'processing') AS processing
                    FROM {schema}.revisions r WHERE r.item_key = k.item_key) counted
