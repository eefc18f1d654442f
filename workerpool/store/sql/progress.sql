-- progress: the latest progress of running attempts.
-- Parameters, parallel arrays: ids bigint, tokens uuid, percents numeric, steps text, totals integer; null leaves a value as it is.
-- Locks: the rows. A row whose claim is lost is left alone.
UPDATE {schema}.revisions r
SET progress_percentage = coalesce(p.percent, r.progress_percentage), current_step = coalesce(p.step, r.current_step),
    total_steps = coalesce(p.total, r.total_steps), updated_at = clock_timestamp()
FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[], %(percents)s::numeric[], %(steps)s::text[], %(totals)s::integer[])
     AS p (id, token, percent, step, total)
WHERE r.id = p.id AND r.claim_token = p.token AND r.status = 'processing'
