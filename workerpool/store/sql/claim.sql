-- claim: take what is next, with nothing to settle.
-- Parameters: as of the function claim. Locks: candidate rows (skipping), items (trying); it waits for nobody.
-- Rows: one for each revision claimed, or one that says 'empty' or 'contended'. Never zero rows.
SELECT answer, id, item_key, handler, payload, attempt, max_attempts, crash_count, timeout_seconds, fence, metadata
FROM {schema}.claim(
    %(worker)s::text, %(token)s::uuid, %(handlers)s::text[], %(how_many)s::integer, %(sharers)s::integer, %(lease)s::interval)
