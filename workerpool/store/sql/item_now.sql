-- item_now: an item at a glance. Parameters: item text. No locks. One row; known false: nothing was ever heard of it.
SELECT i.halted_at, i.halt_reason, running.id AS processing_id,
       i.item_key IS NOT NULL OR EXISTS (
           SELECT 1 FROM {schema}.revisions r WHERE r.item_key = k.item_key AND r.status IN ('pending', 'processing')) OR EXISTS (
           SELECT 1 FROM {schema}.revisions r WHERE r.item_key = k.item_key AND r.revision_number IS NOT NULL) OR EXISTS (
           SELECT 1 FROM {schema}.revisions r WHERE r.item_key = k.item_key) AS known
FROM (SELECT %(item)s::text AS item_key) k
LEFT JOIN {schema}.items i ON i.item_key = k.item_key
LEFT JOIN {schema}.revisions running ON running.item_key = k.item_key AND running.status = 'processing'
