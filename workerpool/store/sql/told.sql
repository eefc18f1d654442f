-- told: what running attempts said: their latest progress and their log lines, in one transaction.
-- Parameters, parallel arrays, of progress: ids bigint, tokens uuid, percents numeric, steps text, totals integer; null leaves a value as it is.
--   Of lines: line_ids bigint, line_tokens uuid, attempts integer, instants as seconds ago, levels text, messages text, data JSON text.
-- Locks: the rows, a key share of them for the lines (foreign key). What was said by a claim that is lost is left out.
WITH progressed AS (
    UPDATE {schema}.revisions r
    SET progress_percentage = coalesce(p.percent, r.progress_percentage), current_step = coalesce(p.step, r.current_step),
        total_steps = coalesce(p.total, r.total_steps), updated_at = clock_timestamp()
    FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[], %(percents)s::numeric[], %(steps)s::text[], %(totals)s::integer[])
         AS p (id, token, percent, step, total)
    WHERE r.id = p.id AND r.claim_token = p.token AND r.status = 'processing'
)
INSERT INTO {schema}.execution_log (revision_id, attempt, at, level, message, data)
SELECT l.id, l.attempt, clock_timestamp() - l.ago * interval '1 second', l.level, l.message, l.data::jsonb
FROM unnest(%(line_ids)s::bigint[], %(line_tokens)s::uuid[], %(attempts)s::integer[], %(ago)s::double precision[], %(levels)s::text[],
            %(messages)s::text[], %(data)s::text[]) WITH ORDINALITY AS l (id, token, attempt, ago, level, message, data, place)
JOIN {schema}.revisions r ON r.id = l.id AND r.claim_token = l.token
ORDER BY l.place
