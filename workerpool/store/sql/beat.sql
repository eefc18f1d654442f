-- beat: what a keeper saw of its living workers; whoever nobody has seen for long is gone, and rows of the dead go after a day.
-- Parameters, parallel arrays: ids text, revisions bigint, processed bigint, restarts integer, rss bigint; silence interval.
-- Locks: the rows, skipping what is locked: a worker that writes its own row says that it lives, and nobody's lock keeps the others.
WITH seen AS (
    UPDATE {schema}.workers w
    SET last_heartbeat = clock_timestamp(), current_revision_id = b.revision, processed_count = b.processed,
        restart_count = b.restarts, rss_bytes = b.rss
    FROM unnest(%(ids)s::text[], %(revisions)s::bigint[], %(processed)s::bigint[], %(restarts)s::integer[], %(rss)s::bigint[])
         AS b (id, revision, processed, restarts, rss)
    WHERE w.id = b.id AND w.id = ANY (ARRAY(
        SELECT k.id FROM {schema}.workers k WHERE k.id = ANY (%(ids)s::text[]) ORDER BY k.id FOR NO KEY UPDATE SKIP LOCKED))
), old AS (
    DELETE FROM {schema}.workers w
    WHERE w.id = ANY (ARRAY(
        SELECT k.id FROM {schema}.workers k
        WHERE k.state = 'gone' AND k.last_heartbeat < clock_timestamp() - interval '1 day' AND k.id <> ALL (%(ids)s::text[])
        ORDER BY k.id FOR UPDATE SKIP LOCKED))
)
UPDATE {schema}.workers w SET state = 'gone', current_revision_id = NULL
WHERE w.id = ANY (ARRAY(
    SELECT k.id FROM {schema}.workers k
    WHERE k.state <> 'gone' AND k.last_heartbeat < clock_timestamp() - %(silence)s::interval AND k.id <> ALL (%(ids)s::text[])
    ORDER BY k.id FOR NO KEY UPDATE SKIP LOCKED))
