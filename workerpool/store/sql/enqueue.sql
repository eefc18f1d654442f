-- enqueue: add revisions, in the order given; one whose dedupe key an unfinished revision of its item holds is not added.
-- Parameters, parallel arrays of texts, named as their columns: item_key, handler, payload (JSON), status ('draft', 'pending'), priority, run_at ('now': at once);
-- dedupe_key, max_attempts, timeout_seconds, metadata (JSON), each null: not given. Locks: an entry of the dedupe index.
-- Rows: those that were added, in the order given. Fewer than given: the missing ones were there already.
INSERT INTO {schema}.revisions
    (item_key, handler, payload, status, priority, run_at, dedupe_key, max_attempts, timeout_seconds, metadata)
SELECT n.item_key, n.handler, n.payload::jsonb, n.status, n.priority::smallint, n.run_at::timestamptz, n.dedupe_key,
       n.max_attempts::integer, n.timeout_seconds::numeric, n.metadata::jsonb
FROM unnest(%(item_key)s::text[], %(handler)s::text[], %(payload)s::text[], %(status)s::text[], %(priority)s::text[],
            %(run_at)s::text[], %(dedupe_key)s::text[], %(max_attempts)s::text[], %(timeout_seconds)s::text[], %(metadata)s::text[])
     WITH ORDINALITY
     AS n (item_key, handler, payload, status, priority, run_at, dedupe_key, max_attempts, timeout_seconds, metadata, place)
ORDER BY n.place
ON CONFLICT (item_key, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('draft', 'scheduled', 'pending', 'processing') DO NOTHING
RETURNING id, item_key, dedupe_key
