-- enqueue: add revisions, in the order given; one whose dedupe key an unfinished revision of its item holds is not added.
-- Parameters, parallel arrays: items, handlers text, payloads JSON text, drafts boolean, priorities integer, run_ats timestamptz (null: now),
-- dedupe_keys text, attempts integer, timeouts numeric (seconds), metadata JSON text; null: not given. Locks: an entry of the dedupe index.
-- Rows: those that were added, in the order given. Fewer than given: the missing ones were there already.
INSERT INTO {schema}.revisions
    (item_key, handler, payload, status, priority, run_at, dedupe_key, max_attempts, timeout_seconds, metadata)
SELECT n.item, n.handler, n.payload::jsonb, CASE WHEN n.draft THEN 'draft' ELSE 'pending' END, n.priority::smallint,
       coalesce(n.run_at, now()), n.dedupe_key, n.attempts, n.timeout, n.metadata::jsonb
FROM unnest(%(items)s::text[], %(handlers)s::text[], %(payloads)s::text[], %(drafts)s::boolean[], %(priorities)s::integer[],
            %(run_ats)s::timestamptz[], %(dedupe_keys)s::text[], %(attempts)s::integer[], %(timeouts)s::numeric[], %(metadata)s::text[])
     WITH ORDINALITY AS n (item, handler, payload, draft, priority, run_at, dedupe_key, attempts, timeout, metadata, place)
ORDER BY n.place
ON CONFLICT (item_key, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('draft', 'scheduled', 'pending', 'processing') DO NOTHING
RETURNING id, item_key, dedupe_key
