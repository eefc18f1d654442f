-- permissions: the tables of the schema that this role may not fully use. Parameters: schema_name text. No locks. Zero rows: all is well.
SELECT c.relname AS name FROM pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema_name)s)) AND c.relkind = 'r' AND c.relname <> 'alembic_version'
  AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
           -- (events are only ever added)
           AND (c.relname = 'control_events' OR has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')))
ORDER BY c.relname
