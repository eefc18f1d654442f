-- look: how many candidates idle workers would find (up to how_many), and the seconds until the next row becomes due.
-- Parameters: handlers text[], how_many integer. No locks. One row.
SELECT (SELECT count(*) FROM unnest(%(handlers)s::text[]) AS h (name) CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.revisions p
            WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL LIMIT %(how_many)s) c),
       (SELECT extract(epoch FROM r.run_at - clock_timestamp())::double precision FROM {schema}.revisions r
        WHERE r.status = 'scheduled' OR r.parked = 'due' ORDER BY r.run_at LIMIT 1)
