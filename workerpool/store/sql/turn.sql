-- turn: settle what was done and claim what is next, in one round trip; prepared, so its parameters are numbered.
-- Parameters: $1 to $8 as of settle: ids, tokens, verdicts, results, messages, kinds, delays, crashes; $9 to $17 as of claim: worker, token,
--   handlers, their limits, how many, sharers, lease, and where to begin to look. Locks: those of settle, then those of claim.
-- Rows: 'settled' for each outcome that was written, then those of claim. Never zero rows.
SELECT answer, id, item_key, handler, payload, attempt, max_attempts, crash_count, timeout_seconds, fence, metadata
FROM {schema}.turn(
    $1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::double precision[], $8::boolean[],
    $9::text, $10::uuid, $11::text[], $12::integer[], $13::integer, $14::integer, $15::interval,
    $16::integer, $17::bigint)
