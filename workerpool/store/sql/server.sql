-- server: what doctor wants to know of a database. Parameters: schema_name text. No locks. One row.
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS number,
       current_user AS role, current_database() AS name, pg_is_in_recovery() AS in_recovery,
       current_setting('server_encoding') AS encoding, current_setting('max_connections')::integer AS max_connections,
       to_regnamespace(quote_ident(%(schema_name)s)) IS NOT NULL AS schema_there,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       coalesce(has_schema_privilege(to_regnamespace(quote_ident(%(schema_name)s))::oid, 'USAGE'), false) AS may_use
