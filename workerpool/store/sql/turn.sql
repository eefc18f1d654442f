-- turn: settle what was done and claim what is next, in one round trip.
-- Parameters: as of the function turn. Locks: those of settle, then those of claim.
-- Rows: 'settled' for each outcome that was written, then those of claim. Never zero rows.
SELECT answer, id, item_key, handler, payload, attempt, max_attempts, crash_count, timeout_seconds, fence, metadata
FROM {schema}.turn(
    %(ids)s::bigint[], %(tokens)s::uuid[], %(verdicts)s::text[], %(results)s::text[], %(messages)s::text[], %(kinds)s::text[],
    %(delays)s::double precision[], %(crashes)s::boolean[], %(worker)s::text, %(token)s::uuid, %(handlers)s::text[],
    %(how_many)s::integer, %(sharers)s::integer, %(lease)s::interval)
