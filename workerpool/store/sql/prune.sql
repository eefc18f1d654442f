-- prune: delete old finished revisions, except each item's current one (P1: failed ones stay three times as long).
-- Parameters: retention interval, after bigint, how_many integer. Locks: the rows; a locked one is waited for, at most lock_timeout.
-- While the pool is paused nothing is (R12).
-- One row: how many were deleted, and the last id looked at; null: the end, or nothing that was looked at is old, and nothing after it is.
WITH guard AS MATERIALIZED (SELECT {schema}.may_work() AS open
), looked AS (
    SELECT r.id, r.item_key, r.status, r.created_at, r.completed_at, r.revision_number FROM {schema}.revisions r
    WHERE r.id > %(after)s ORDER BY r.id LIMIT %(how_many)s
), old AS (
    DELETE FROM {schema}.revisions d
    WHERE d.id = ANY (ARRAY(
        SELECT l.id FROM looked l
        WHERE (SELECT g.open FROM guard g) AND l.completed_at < clock_timestamp() - %(retention)s::interval * CASE l.status WHEN 'failed' THEN 3 ELSE 1 END
          AND (l.revision_number IS NULL OR EXISTS (
               SELECT 1 FROM {schema}.revisions n
               WHERE n.item_key = l.item_key AND n.revision_number > l.revision_number))))
    RETURNING d.id
)
SELECT (SELECT count(*) FROM old),
       CASE WHEN (SELECT count(*) = %(how_many)s AND min(l.created_at) < clock_timestamp() - %(retention)s::interval FROM looked l) THEN (SELECT max(l.id) FROM looked l) END
