-- log_lines: append to the execution log, each line only for the claim that wrote it.
-- Parameters, parallel arrays: ids bigint, tokens uuid, attempts integer, instants as seconds ago, levels text, messages text, data JSON text.
-- Locks: a key share of the revisions (foreign key). A line whose claim is lost is left out.
INSERT INTO {schema}.execution_log (revision_id, attempt, at, level, message, data)
SELECT l.id, l.attempt, clock_timestamp() - l.ago * interval '1 second', l.level, l.message, l.data::jsonb
FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[], %(attempts)s::integer[], %(ago)s::double precision[], %(levels)s::text[],
            %(messages)s::text[], %(data)s::text[]) WITH ORDINALITY AS l (id, token, attempt, ago, level, message, data, place)
JOIN {schema}.revisions r ON r.id = l.id AND r.claim_token = l.token
ORDER BY l.place
