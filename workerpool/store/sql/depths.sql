-- depths: how many revisions wait or run, by status and handler, counted one by one: its cost grows with the queue, not with its past.
-- Parameters: most integer: of each status so many are counted. To be sent after in_bulk. No locks.
SELECT d.status, d.handler, count(*) AS revisions FROM (
    (SELECT 'pending' AS status, r.handler::text AS handler FROM {schema}.revisions r WHERE r.status = 'pending' LIMIT %(most)s)
    UNION ALL
    (SELECT 'processing', r.handler::text FROM {schema}.revisions r WHERE r.status = 'processing' LIMIT %(most)s)
    UNION ALL
    (SELECT 'scheduled', r.handler::text FROM {schema}.revisions r
     WHERE (r.status = 'scheduled' OR r.parked = 'due') AND r.status = 'scheduled' LIMIT %(most)s)
) d GROUP BY 1, 2
