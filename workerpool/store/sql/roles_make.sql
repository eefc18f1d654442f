-- roles_make: make the three group roles of a schema where they are missing, and give the schema and all in it to its owner role.
-- Names, not parameters: {schema}, {owner}, {runtime}, {readonly} and each as a text. Whoever runs it may create roles and owns the schema.
-- Locks: ACCESS EXCLUSIVE on what is not the owner role's yet, nothing else. No rows. Running it again changes nothing.
DO $roles$
DECLARE
    each record;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[{owner_text}, {runtime_text}, {readonly_text}] LOOP
        IF to_regrole(quote_ident(name)) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        ELSIF (SELECT rolsuper FROM pg_roles WHERE rolname = name) THEN
            RAISE insufficient_privilege USING MESSAGE = format('role %I is there already, and it is a superuser', name),
                HINT = 'Give that role another name, or the schema (WORKERPOOL_SCHEMA).';
        END IF;
    END LOOP;
    IF NOT pg_has_role({owner_text}, 'USAGE') THEN
        EXECUTE format('GRANT %I TO %I', {owner_text}, current_user);
    END IF;
    FOR each IN
        SELECT 1 AS place, format('SCHEMA %I', nspname) AS what FROM pg_namespace
        WHERE nspname = {schema_text} AND nspowner <> to_regrole(quote_ident({owner_text}))
        UNION ALL
        SELECT 2, format('%s %I.%I', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, {schema_text}, relname)
        FROM pg_class c
        WHERE relnamespace = to_regnamespace(quote_ident({schema_text})) AND relowner <> to_regrole(quote_ident({owner_text}))
          AND relkind IN ('r', 'p', 'v', 'S')
          -- (the sequence of an identity column follows its table)
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')
        UNION ALL
        SELECT 3, format('DOMAIN %I.%I', {schema_text}, typname) FROM pg_type
        WHERE typnamespace = to_regnamespace(quote_ident({schema_text})) AND typtype = 'd'
          AND typowner <> to_regrole(quote_ident({owner_text}))
        UNION ALL
        SELECT 4, format('FUNCTION %s', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = to_regnamespace(quote_ident({schema_text})) AND proowner <> to_regrole(quote_ident({owner_text}))
        ORDER BY 1, 2
    LOOP
        EXECUTE format('ALTER %s OWNER TO %I', each.what, {owner_text});
    END LOOP;
    -- Settings of a role hold for those who log in as that role, and not for its members: each login gets its own, where nobody chose.
    -- Who works or migrates too is left alone; also who made the roles, whom PostgreSQL made a member of each.
    FOR each IN
        SELECT m.oid, m.rolname FROM pg_roles m
        WHERE m.rolname = {readonly_text} OR m.rolcanlogin AND NOT m.rolsuper AND EXISTS (
            SELECT FROM pg_auth_members a WHERE a.member = m.oid AND a.roleid = to_regrole(quote_ident({readonly_text})))
            AND NOT pg_has_role(m.oid, {owner_text}, 'MEMBER') AND NOT pg_has_role(m.oid, {runtime_text}, 'MEMBER')
        ORDER BY m.rolname
    LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.datname = current_database() AND s.setdatabase IN (d.oid, 0),
                unnest(s.setconfig) setting
            WHERE s.setrole = each.oid AND setting LIKE 'statement_timeout=%');
        BEGIN
            name := format('ALTER ROLE %I IN DATABASE %I', each.rolname, current_database());
            EXECUTE name || ' SET statement_timeout = ''30s''';
            EXECUTE name || ' SET idle_in_transaction_session_timeout = ''1min''';
            EXECUTE name || ' SET default_transaction_read_only = on';
            EXECUTE name || format(' SET search_path = %I', {schema_text});
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'role % keeps its settings: this role may not change them', each.rolname
                USING HINT = name || ' SET statement_timeout = ''30s''';
        END;
    END LOOP;
END
$roles$
