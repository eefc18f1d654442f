-- tally: add to the counts what one process has counted since its last send.
-- Parameters, parallel arrays: names, handlers, kinds text, buckets, values double precision; then a sample of the revisions that it has
--   claimed since: sample bigint[]; parallel arrays waited_for text, claims double precision: the handlers of the sample, and how many claims
--   of each it stands for; bounds double precision[], of the buckets, infinity the last.
-- Locks: the rows of the counts, in the order of their key, so that two senders cannot deadlock. At least one row is written.
-- (One that was put off since its claim has waited for nobody knows what: it is left out. A claim that is sampled twice is no harm.)
WITH waited AS MATERIALIZED (
    SELECT r.handler::text AS handler, c.claims / count(*) OVER (PARTITION BY r.handler) AS weight,
           greatest(extract(epoch FROM r.started_at - greatest(r.created_at, r.run_at)), 0)::double precision AS seconds
    FROM {schema}.revisions r JOIN unnest(%(waited_for)s::text[], %(claims)s::double precision[]) AS c (handler, claims)
         ON c.handler = r.handler
    WHERE r.id = ANY (%(sample)s::bigint[]) AND r.run_at <= r.started_at
), counted AS (
    SELECT u.name, u.handler, u.kind, u.bucket, u.value
    FROM unnest(%(names)s::text[], %(handlers)s::text[], %(kinds)s::text[], %(buckets)s::double precision[],
                %(values)s::double precision[]) AS u (name, handler, kind, bucket, value)
    UNION ALL
    SELECT 'wait_seconds', w.handler, '',
           (SELECT min(b) FROM unnest(%(bounds)s::double precision[]) AS b WHERE b >= w.seconds), w.weight
    FROM waited w
    UNION ALL
    SELECT 'wait_seconds_sum', w.handler, '', 'Infinity', w.seconds * w.weight FROM waited w
)
INSERT INTO {schema}.tallies AS t (name, handler, kind, bucket, value)
SELECT c.name COLLATE "C", c.handler COLLATE "C", c.kind COLLATE "C", c.bucket, sum(c.value)
FROM counted c GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (name, handler, kind, bucket) DO UPDATE SET value = t.value + excluded.value
