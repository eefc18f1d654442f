-- enqueue_one: add a revision, at the least cost, unless an unfinished one of its item holds its dedupe key.
-- Parameters, texts in the order of the columns: as `enqueue` has them. Locks: an entry of the dedupe index.
-- One row: its id. Zero rows: the holder of its dedupe key was there already.
INSERT INTO {schema}.revisions
    (item_key, handler, payload, status, priority, run_at, dedupe_key, max_attempts, timeout_seconds, metadata)
VALUES ($1::text, $2::text, $3::jsonb, $4::text, $5::smallint, $6::timestamptz, $7::text, $8::integer, $9::numeric, $10::jsonb)
ON CONFLICT (item_key, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('draft', 'scheduled', 'pending', 'processing') DO NOTHING
RETURNING id
