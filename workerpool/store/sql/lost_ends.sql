-- lost_ends: which ends of revisions, that a server had acknowledged, this one does not know; each that is there gets a line in its log.
-- Parameters, parallel arrays: ids bigint[], tokens uuid[] of the claims that ended, agos double precision[], how many seconds ago; told text.
-- Locks: a key share of the rows (foreign key). Rows: the revision, and whether there is one of that id. Zero rows: all of them are known.
-- (What has ended keeps its token. Where an operator let it run again since, it was not lost, and that is on record.)
WITH gone AS MATERIALIZED (
    SELECT e.id, e.ago, r.attempt::integer, r.id IS NOT NULL AS there
    FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[], %(agos)s::double precision[]) AS e (id, token, ago)
    LEFT JOIN {schema}.revisions r ON r.id = e.id
    WHERE r.id IS NULL OR r.completed_at IS NULL OR r.claim_token IS DISTINCT FROM e.token
), operated AS MATERIALIZED (
    SELECT v.target, v.created_at FROM {schema}.control_events v
    WHERE v.control = 'revision' AND v.created_at > clock_timestamp() - (SELECT max(g.ago) FROM gone g) * interval '1 second'
), lost AS (
    SELECT g.id, g.attempt, g.there FROM gone g
    WHERE NOT EXISTS (SELECT FROM operated o
                      WHERE o.target = g.id::text AND o.created_at > clock_timestamp() - g.ago * interval '1 second')
), noted AS (
    INSERT INTO {schema}.execution_log (revision_id, attempt, level, message)
    SELECT l.id, l.attempt, 'warning', %(told)s::text FROM lost l WHERE l.there
)
SELECT l.id, l.there FROM lost l ORDER BY l.id
