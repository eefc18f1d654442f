-- The three roles of a schema, made where they are missing, and what each may do. Running it again is harmless.
--   {owner}: owns the schema; migrates.
--   {runtime}: what a running pool, its API and its clients need: rows, never tables.
--   {readonly}: looks; what a token's digest is, it cannot see.
-- They may log in and have no password: that is the administrator's to set, or he grants them to logins that exist.
DO $roles$
DECLARE
    wanted record;
    found  record;
BEGIN
    FOR wanted IN SELECT * FROM unnest(ARRAY[{owner}, {runtime}, {readonly}]) AS role (name) LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = wanted.name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', wanted.name);
        END IF;
    END LOOP;
    IF NOT pg_catalog.pg_has_role({owner}, 'MEMBER') OR current_setting('server_version_num')::integer >= 160000 THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', {owner});
    END IF;
    EXECUTE format('ALTER SCHEMA %I OWNER TO %I', {schema}, {owner});
    FOR found IN
        SELECT c.relname AS name, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = to_regnamespace(quote_ident({schema})) AND c.relkind IN ('r', 'p', 'v', 'S')
          -- (the sequence of an identity column goes with its table)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')
    LOOP
        EXECUTE format('ALTER %s %I.%I OWNER TO %I', found.kind, {schema}, found.name, {owner});
    END LOOP;
    FOR found IN SELECT p.oid::regprocedure AS name FROM pg_catalog.pg_proc p WHERE p.pronamespace = to_regnamespace(quote_ident({schema})) LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', found.name, {owner});
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', {schema}, {runtime}, {readonly});
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', {schema}, {runtime});
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON %I.alembic_version FROM %I', {schema}, {runtime});
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', {schema}, {runtime});
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', {schema}, {readonly});
    EXECUTE format('REVOKE SELECT ON %I.api_tokens FROM %I', {schema}, {readonly});
    EXECUTE format(
        'GRANT SELECT (name, role, scopes, created_at, created_by, expires_at, used_at, revoked_at) ON %I.api_tokens TO %I',
        {schema}, {readonly});
    FOR wanted IN SELECT * FROM unnest(ARRAY[{runtime}, {readonly}]) AS role (name) LOOP
        EXECUTE format('ALTER ROLE %I SET search_path = %I', wanted.name, {schema});
    END LOOP;
    EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', {readonly}, '30s');
    EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', {readonly});
END $roles$;
