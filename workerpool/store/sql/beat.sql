-- beat: what the keeper saw of its living workers.
-- Parameters, parallel arrays: ids text, revisions bigint, processed bigint, restarts integer, rss bigint. Locks: the rows.
UPDATE {schema}.workers w
SET last_heartbeat = clock_timestamp(), current_revision_id = b.revision, processed_count = b.processed,
    restart_count = b.restarts, rss_bytes = b.rss
FROM unnest(%(ids)s::text[], %(revisions)s::bigint[], %(processed)s::bigint[], %(restarts)s::integer[], %(rss)s::bigint[])
     AS b (id, revision, processed, restarts, rss)
WHERE w.id = b.id
