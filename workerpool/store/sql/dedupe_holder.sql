-- dedupe_holder: the unfinished revision of an item that has this dedupe key.
-- Parameters: item, dedupe_key text. No locks. Zero rows: it has ended meanwhile.
SELECT id FROM {schema}.revisions
WHERE item_key = %(item)s AND dedupe_key = %(dedupe_key)s AND status IN ('draft', 'scheduled', 'pending', 'processing')
