-- claim: take what is next: a turn with nothing to settle; prepared, so its parameters are numbered.
-- Parameters: $1 worker, $2 token, $3 handlers, $4 of each how many may run at once (null: any number),
--   $5 how many, $6 sharers, $7 lease, $8 and $9 where to begin to look.
-- Locks: candidate rows (skipping), items (trying); it waits for nobody.
-- Rows: one for each revision claimed, or one that says 'empty' or 'contended'; one that says where to begin 'next'. Never zero rows.
SELECT answer, id, item_key, handler, payload, attempt, max_attempts, crash_count, timeout_seconds, fence, metadata
FROM {schema}.turn('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
    $1::text, $2::uuid, $3::text[], $4::integer[], $5::integer, $6::integer, $7::interval, $8::integer, $9::bigint)
