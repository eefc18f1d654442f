-- dismiss: end revisions that have not started. Parameters: ids bigint[], verdict, message, kind text; halts boolean: whether their items stop there. Locks: items, then rows.
-- One row with those that were ended; an id that is missing had started or ended meanwhile.
SELECT {schema}.dismiss(%(ids)s::bigint[], %(verdict)s::text, %(message)s::text, %(kind)s::text, %(halts)s::boolean)
