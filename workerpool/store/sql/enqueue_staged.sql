-- enqueue_staged: add the revisions that were staged, as `enqueue` does. No parameters. Locks: an entry of the dedupe index.
-- Rows: those that were added, in the order of their places. Fewer than staged: the missing ones were there already.
INSERT INTO {schema}.revisions
    (item_key, handler, payload, status, priority, run_at, dedupe_key, max_attempts, timeout_seconds, metadata)
SELECT n.item_key, n.handler, n.payload, n.status, n.priority, n.run_at, n.dedupe_key, n.max_attempts, n.timeout_seconds, n.metadata
FROM pg_temp.workerpool_enqueue n
ORDER BY n.place
ON CONFLICT (item_key, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('draft', 'scheduled', 'pending', 'processing') DO NOTHING
RETURNING id, item_key, dedupe_key
