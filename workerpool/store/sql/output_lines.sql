-- output_lines: what a handler wrote past Python, for the claim that ran.
-- Parameters: id bigint, token uuid, messages text[]. Zero rows: the claim is lost, and the lines with it.
INSERT INTO {schema}.execution_log (revision_id, attempt, level, message, data)
SELECT r.id, r.attempt, 'info', m.message, '{"stream": "descriptor"}'
FROM unnest(%(messages)s::text[]) WITH ORDINALITY AS m (message, place)
JOIN {schema}.revisions r ON r.id = %(id)s AND r.claim_token = %(token)s::uuid
ORDER BY m.place
