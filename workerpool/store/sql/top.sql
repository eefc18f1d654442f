-- top: the queue and its pause for who watches in a terminal. Its cost does not grow with the queue: whatever is counted is counted to
-- *most* and one more. To be sent after in_order, else old statistics make it collect what it only has to count the beginning of.
-- Parameters: most integer, recent integer: how many of the latest revisions are told apart by status. No locks.
-- One row: the pause in force; counts; `latest`, JSON, status -> how many of the *recent* latest; when the look was.
SELECT s.paused, s.mode, s.version, s.scopes,
       (SELECT count(*) FROM (SELECT 1 FROM {schema}.revisions r
                              WHERE r.status = 'pending' ORDER BY r.item_key, r.id LIMIT %(most)s + 1) p) AS pending,
       late.scheduled, late.retrying, runs.processing, runs.held, runs.stale,
       (SELECT count(*) FROM (SELECT 1 FROM {schema}.items i
                              WHERE i.halted_at IS NOT NULL ORDER BY i.item_key LIMIT %(most)s + 1) h) AS halted,
       (SELECT coalesce(jsonb_object_agg(l.status, l.n), '{}')
        FROM (SELECT x.status, count(*) AS n
              FROM (SELECT r.status::text FROM {schema}.revisions r ORDER BY r.id DESC LIMIT %(recent)s) x GROUP BY x.status) l) AS latest,
       clock_timestamp() AS at
FROM {schema}.pause_state s,
     LATERAL (SELECT count(*) FILTER (WHERE d.status = 'scheduled') AS scheduled, count(*) FILTER (WHERE d.status = 'pending') AS retrying
              FROM (SELECT r.status FROM {schema}.revisions r
                    WHERE r.status = 'scheduled' OR r.parked = 'due' ORDER BY r.run_at LIMIT %(most)s + 1) d) late,
     LATERAL (SELECT count(*) AS processing, count(*) FILTER (WHERE x.held) AS held, count(*) FILTER (WHERE x.stale) AS stale
              FROM (SELECT v.held, v.stale FROM {schema}.running_revisions v ORDER BY v.item_key LIMIT %(most)s + 1) x) runs
