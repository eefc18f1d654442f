-- lost_ends: which ends of revisions, that a server had acknowledged, this one does not know; each that is there gets a line in its log.
-- Parameters, parallel arrays: ids bigint[], tokens uuid[] of the claims that ended; told text. Locks: a key share of the rows (foreign key).
-- Rows: the revision, and whether there is one of that id. Zero rows: all of them are known. (What has ended keeps its token.)
WITH lost AS (
    SELECT e.id, r.attempt::integer, r.id IS NOT NULL AS there
    FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) AS e (id, token) LEFT JOIN {schema}.revisions r ON r.id = e.id
    WHERE r.id IS NULL OR r.completed_at IS NULL OR r.claim_token IS DISTINCT FROM e.token
), noted AS (
    INSERT INTO {schema}.execution_log (revision_id, attempt, level, message)
    SELECT l.id, l.attempt, 'warning', %(told)s::text FROM lost l WHERE l.there
)
SELECT l.id, l.there FROM lost l ORDER BY l.id
