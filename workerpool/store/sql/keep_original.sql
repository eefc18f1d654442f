-- keep_original: the content of an item that is seen for the first time: it has no original, and no completed revision.
-- Parameters, parallel arrays: items text, originals JSON text; each item once. Locks: the rows of items.
-- Rows: the items whose original was kept; an item that is missing was known already.
INSERT INTO {schema}.items AS i (item_key, original)
SELECT n.item, n.original::jsonb FROM unnest(%(items)s::text[], %(originals)s::text[]) AS n (item, original)
WHERE NOT EXISTS (SELECT 1 FROM {schema}.revisions r WHERE r.item_key = n.item AND r.revision_number IS NOT NULL)
ORDER BY n.item
ON CONFLICT (item_key) DO UPDATE SET original = excluded.original WHERE i.original IS NULL
RETURNING item_key
