-- copied: the ids of the revisions that the same (sub)transaction inserted from one of its own to another, both included, in order.
-- Parameters: first, last bigint. No locks. Others' revisions lie between where they enqueued meanwhile.
SELECT r.id FROM {schema}.revisions r
WHERE r.id BETWEEN %(first)s::bigint AND %(last)s::bigint
  AND r.xmin = (SELECT l.xmin FROM {schema}.revisions l WHERE l.id = %(last)s::bigint)
ORDER BY r.id
