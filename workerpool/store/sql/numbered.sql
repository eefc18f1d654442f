-- numbered: the result with a number in an item's history; 0 is the original. Parameters: item text, number integer. No locks.
-- One row: whether it is there, the result as JSON text, the item's latest number (0: none yet), and whether anything is known of the item.
SELECT CASE %(number)s::integer WHEN 0 THEN i.original IS NOT NULL ELSE r.id IS NOT NULL END AS found,
       CASE %(number)s::integer WHEN 0 THEN i.original ELSE r.result END::text AS result,
       coalesce((SELECT max(l.revision_number::integer) FROM {schema}.revisions l
                 WHERE l.item_key = k.item_key AND l.revision_number IS NOT NULL), 0) AS latest,
       i.item_key IS NOT NULL OR EXISTS (SELECT 1 FROM {schema}.revisions a WHERE a.item_key = k.item_key) AS known
FROM (SELECT %(item)s::text AS item_key) k
LEFT JOIN {schema}.items i ON i.item_key = k.item_key
LEFT JOIN {schema}.revisions r ON r.item_key = k.item_key AND r.revision_number = %(number)s::integer
