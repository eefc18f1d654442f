-- dismiss: end revisions that have not started. Parameters: ids bigint[], verdict, message, kind text. Locks: items, then rows.
-- One row with those that were ended; an id that is missing had started or ended meanwhile.
SELECT {schema}.dismiss(%(ids)s::bigint[], %(verdict)s::text, %(message)s::text, %(kind)s::text)
