-- history: what became of an item, number by number. Parameters: item text, how_many integer (the latest ones), with_result boolean. No locks.
-- Rows by number; who is what was recorded with the revision: its actor, else its source.
SELECT * FROM (
    SELECT r.revision_number::integer AS number, r.id, r.handler::text, coalesce(r.metadata ->> 'actor', r.metadata ->> 'source') AS who,
           r.completed_at, extract(epoch FROM r.actual_duration)::double precision AS duration, r.attempt::integer,
           CASE jsonb_typeof(r.result) WHEN 'object' THEN r.result ->> 'summary' END AS summary,
           CASE r.handler WHEN 'revert' THEN r.payload ->> 'to' END AS reverted_to,
           CASE WHEN %(with_result)s::boolean THEN r.result END AS result
    FROM {schema}.revisions r
    WHERE r.item_key = %(item)s AND r.revision_number IS NOT NULL
    ORDER BY r.revision_number DESC LIMIT %(how_many)s) latest
ORDER BY number
