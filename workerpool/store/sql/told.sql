-- told: what running attempts said: their latest progress and their log lines, in one transaction.
-- It is sent in front of a turn, so its parameters are numbered. Parallel arrays, of progress: $1 to $5: ids, tokens, percents, steps,
--   totals; null leaves a value as it is. Of lines: $6 to $12: ids, tokens, attempts, instants as seconds ago, levels, messages, data as JSON.
-- Locks: the rows, a key share of them for the lines (foreign key). What was said by a claim that is lost is left out.
WITH progressed AS (
    UPDATE {schema}.revisions r
    SET progress_percentage = coalesce(p.percent, r.progress_percentage), current_step = coalesce(p.step, r.current_step),
        total_steps = coalesce(p.total, r.total_steps), updated_at = clock_timestamp()
    FROM unnest($1::bigint[], $2::uuid[], $3::numeric[], $4::text[], $5::integer[])
         AS p (id, token, percent, step, total)
    -- (a row has a lease exactly while it is processing; asked for its status, the planner walks all processing rows)
    WHERE r.id = p.id AND r.claim_token = p.token AND r.lease_expires_at IS NOT NULL
)
INSERT INTO {schema}.execution_log (revision_id, attempt, at, level, message, data)
SELECT l.id, l.attempt, clock_timestamp() - l.ago * interval '1 second', l.level, l.message, l.data::jsonb
FROM unnest($6::bigint[], $7::uuid[], $8::integer[], $9::double precision[], $10::text[],
            $11::text[], $12::text[]) WITH ORDINALITY AS l (id, token, attempt, ago, level, message, data, place)
JOIN {schema}.revisions r ON r.id = l.id AND r.claim_token = l.token
ORDER BY l.place
