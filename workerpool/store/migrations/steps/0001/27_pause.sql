-- The pause (R12 to R14): who asked for it, what is in force, and the guard before whatever changes queue rows.

-- The lock of the pause: who claims, rescues, fires, heals or prunes holds it in share mode to the end of the transaction, a pause alone.
CREATE FUNCTION {schema}.pause_lock() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashtextextended({channel}, 6620138849921);

-- may_work: whether nothing is paused as a whole; if so it stays so to the end of this transaction. Never waits.
-- Two statements: one that took the lock and read at once would see the row as it was before.
CREATE FUNCTION {schema}.may_work() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock_shared({schema}.pause_lock()) THEN
        RETURN false;   -- paused, or about to be
    END IF;
    RETURN NOT (SELECT s.paused FROM {schema}.pause_state s);
END $$;

-- A change of the pause waits for running claims, at most 5 s, then names the one it waits for (R13). Raw SQL does too.
CREATE FUNCTION {schema}.take_pause_lock() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    blocker text;
BEGIN
    PERFORM pg_advisory_xact_lock({schema}.pause_lock());
    RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
    SELECT string_agg(format('pid %s (%s, %s for %s)', a.pid, coalesce(nullif(a.application_name, ''), 'no name'), coalesce(a.state, 'hidden'),
                             date_trunc('second', clock_timestamp() - a.xact_start)), ', ')
    INTO blocker
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_backend_pid() AND l.objsubid = 1
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = {schema}.pause_lock();
    RAISE EXCEPTION 'the pause is not changed: a claim or another pause has not ended within 5 s' USING ERRCODE = 'lock_not_available',
        DETAIL = 'It is held by ' || coalesce(blocker, 'somebody who has just left') || '.',
        HINT = 'Try again; pg_terminate_backend(pid) ends a claim whose client hangs, and nothing is lost by it.';
END $$;
CREATE TRIGGER pauses_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {schema}.pauses
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.take_pause_lock();
CREATE TRIGGER pause_state_lock BEFORE INSERT OR UPDATE OR DELETE ON {schema}.pause_state
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.take_pause_lock();

-- Whoever changes pauses names himself by workerpool.actor, and why by workerpool.reason; else it is the database's user.
CREATE FUNCTION {schema}.who() RETURNS text LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('workerpool.actor', true), ''), session_user);

-- After each change: the record, the union, and the news.
CREATE FUNCTION {schema}.pauses_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {schema}.control_events (control, action, mode, reason, actor, target)
        SELECT 'pool', 'pause', n.mode, n.reason, n.actor, n.scope FROM new_pauses n ORDER BY n.id;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO {schema}.control_events (control, action, mode, reason, actor, target)
        SELECT 'pool', 'pause', n.mode, n.reason, n.actor, n.scope FROM new_pauses n JOIN old_pauses o ON o.id = n.id
        WHERE n IS DISTINCT FROM o ORDER BY n.id;
    ELSE
        INSERT INTO {schema}.control_events (control, action, mode, reason, actor, target)
        SELECT 'pool', 'resume', o.mode, nullif(current_setting('workerpool.reason', true), ''), {schema}.who(), o.scope
        FROM old_pauses o ORDER BY o.id;
    END IF;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed > 0 THEN
        UPDATE {schema}.pause_state s
        SET paused = u.paused, mode = u.mode, reason = u.reason, actor = u.actor, requested_at = u.requested_at, scopes = u.scopes,
            updated_at = clock_timestamp(), version = s.version + 1
        FROM (SELECT count(*) FILTER (WHERE p.scope = 'all') > 0 AS paused,
                     CASE WHEN bool_or(p.mode = 'quiesce') FILTER (WHERE p.scope = 'all') THEN 'quiesce'
                          WHEN bool_or(p.mode = 'drain') FILTER (WHERE p.scope = 'all') THEN 'drain' END AS mode,
                     string_agg(p.reason, '; ' ORDER BY p.id) FILTER (WHERE p.scope = 'all') AS reason,
                     string_agg(DISTINCT p.actor, ', ') FILTER (WHERE p.scope = 'all') AS actor,
                     min(p.requested_at) FILTER (WHERE p.scope = 'all') AS requested_at,
                     coalesce(array_agg(DISTINCT p.scope ORDER BY p.scope) FILTER (WHERE p.scope <> 'all'), '{}') AS scopes
              FROM {schema}.pauses p) u;
        PERFORM pg_notify({channel}, '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER pauses_asked AFTER INSERT ON {schema}.pauses REFERENCING NEW TABLE AS new_pauses
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.pauses_changed();
CREATE TRIGGER pauses_asked_again AFTER UPDATE ON {schema}.pauses REFERENCING OLD TABLE AS old_pauses NEW TABLE AS new_pauses
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.pauses_changed();
CREATE TRIGGER pauses_taken_away AFTER DELETE ON {schema}.pauses REFERENCING OLD TABLE AS old_pauses
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.pauses_changed();

-- pause_state is the union of pauses and nothing else: who writes it by hand has asked for a pause, or takes all of them away.
CREATE FUNCTION {schema}.pause_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    IF NEW.paused THEN
        INSERT INTO {schema}.pauses (scope, mode, reason, actor, holder)
        VALUES ('all', NEW.mode, NEW.reason, coalesce(NEW.actor, {schema}.who()), 'pause_state')
        ON CONFLICT (scope, holder) DO UPDATE SET mode = excluded.mode, reason = excluded.reason, actor = excluded.actor;
    ELSE
        IF NEW.actor IS DISTINCT FROM OLD.actor AND NEW.actor IS NOT NULL THEN
            PERFORM set_config('workerpool.actor', NEW.actor, true);
        END IF;
        DELETE FROM {schema}.pauses p WHERE p.scope = 'all';
    END IF;
    RETURN NULL;   -- what was written by hand is what the union has become
END $$;
CREATE TRIGGER pause_state_by_hand BEFORE UPDATE ON {schema}.pause_state
    FOR EACH ROW EXECUTE FUNCTION {schema}.pause_by_hand();

-- pause: ask for a pause, or change what one asked for before. Answers the version in force then.
CREATE FUNCTION {schema}.pause(the_scope text, the_mode text, why text, who text, the_holder text, the_until timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.pauses AS p (scope, mode, reason, actor, holder, until) VALUES (the_scope, the_mode, why, who, the_holder, the_until)
    ON CONFLICT (scope, holder) DO UPDATE
        SET mode = excluded.mode, reason = excluded.reason, actor = excluded.actor, until = excluded.until
        WHERE (p.mode, p.reason, p.until) IS DISTINCT FROM (excluded.mode, excluded.reason, excluded.until);
    RETURN (SELECT s.version FROM {schema}.pause_state s);
END $$;

-- resume: take pauses away: those of a holder, or (null) of all; of one scope, or (null) of each. Answers how many there were.
CREATE FUNCTION {schema}.resume(the_scope text, the_holder text, why text, who text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    gone integer;
BEGIN
    PERFORM set_config('workerpool.actor', who, true), set_config('workerpool.reason', coalesce(why, ''), true);
    DELETE FROM {schema}.pauses p
    WHERE (the_scope IS NULL OR p.scope = the_scope) AND (the_holder IS NULL OR p.holder = the_holder);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- lift_pauses: take away the pauses whose time is over. Answers how many.
CREATE FUNCTION {schema}.lift_pauses() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    gone integer := 0;
BEGIN
    IF EXISTS (SELECT 1 FROM {schema}.pauses p WHERE p.until <= clock_timestamp()) THEN
        PERFORM set_config('workerpool.actor', 'workerpool', true), set_config('workerpool.reason', 'its time is over', true);
        DELETE FROM {schema}.pauses p WHERE p.until <= clock_timestamp();
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    RETURN gone;
END $$;

-- acknowledge_pause: a worker has seen what is in force, and begins nothing that it forbids. Answers the version and the pauses of it,
-- as JSON: scope, mode, reason of each. *the_state*: in which state it is from now on; null: as before.
CREATE FUNCTION {schema}.acknowledge_pause(worker text, the_state text) RETURNS TABLE (version bigint, pauses jsonb) LANGUAGE sql AS $$
    WITH in_force AS MATERIALIZED (
        SELECT s.version, coalesce((SELECT jsonb_agg(jsonb_build_array(p.scope, p.mode, p.reason) ORDER BY p.id) FROM {schema}.pauses p),
                                   '[]') AS pauses
        FROM {schema}.pause_state s
    ), written AS (
        UPDATE {schema}.workers w
        SET pause_version = f.version, state = coalesce(the_state, w.state), last_heartbeat = clock_timestamp(),
            current_revision_id = CASE WHEN the_state = 'paused' THEN NULL ELSE w.current_revision_id END
        FROM in_force f WHERE w.id = worker AND w.state <> 'gone')
    SELECT f.version, f.pauses FROM in_force f
$$;

-- hold: a worker stays at a checkpoint of a revision while a quiesce of this version is in force. False: there is another version by now.
CREATE FUNCTION {schema}.hold(worker text, revision bigint, the_version bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {schema}.workers w
    SET state = 'paused', pause_version = the_version, current_revision_id = revision, last_heartbeat = clock_timestamp()
    WHERE w.id = worker AND w.state <> 'gone' AND the_version = (SELECT s.version FROM {schema}.pause_state s);
    RETURN FOUND;
END $$;

-- go_on: a worker leaves its hold, written before it runs on (R15). False: something quiesces it still, or is about to.
CREATE FUNCTION {schema}.go_on(worker text, handler text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock_shared({schema}.pause_lock()) THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT 1 FROM {schema}.pauses p
               WHERE p.mode = 'quiesce' AND p.scope IN ('all', 'handler:' || handler, 'host:' || split_part(worker, '/', 1))) THEN
        RETURN false;
    END IF;
    UPDATE {schema}.workers w SET state = 'busy', last_heartbeat = clock_timestamp() WHERE w.id = worker AND w.state <> 'gone';
    RETURN true;
END $$;
