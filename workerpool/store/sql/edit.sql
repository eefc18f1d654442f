-- edit: change what has not started. Locks: the item, then the row.
-- Parameters: id bigint, who text, payload JSON text, priority integer, run_at text (an instant, or now: by the database's clock);
--   null: as it was. One row: 'edited', 'started', 'ended' or 'missing'.
SELECT {schema}.edit(%(id)s::bigint, %(who)s::text, %(payload)s::jsonb, %(priority)s::smallint,
                     CASE %(run_at)s::text WHEN 'now' THEN clock_timestamp() ELSE %(run_at)s::timestamptz END) AS answer
