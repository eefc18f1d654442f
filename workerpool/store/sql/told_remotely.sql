-- told_remotely: what an attempt says over HTTP: its progress and log lines; null leaves a value as it is.
-- Parameters: id bigint, token uuid, percent, step, total, and of the lines parallel arrays: levels, messages, data as JSON text.
-- Locks: the row. One row; zero rows: the claim is lost, and nothing was written.
WITH progressed AS (
    UPDATE {schema}.revisions r
    SET progress_percentage = coalesce(%(percent)s::numeric, r.progress_percentage), current_step = coalesce(%(step)s::text, r.current_step),
        total_steps = coalesce(%(total)s::integer, r.total_steps), updated_at = clock_timestamp()
    WHERE r.id = %(id)s AND r.claim_token = %(token)s AND r.lease_expires_at IS NOT NULL
    RETURNING r.id, r.attempt
), logged AS (
    INSERT INTO {schema}.execution_log (revision_id, attempt, level, message, data)
    SELECT p.id, p.attempt, l.level, l.message, l.data::jsonb
    FROM progressed p, unnest(%(levels)s::text[], %(messages)s::text[], %(data)s::text[]) WITH ORDINALITY AS l (level, message, data, place)
    ORDER BY l.place
)
SELECT id FROM progressed
