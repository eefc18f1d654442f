-- What happens at a plain INSERT or UPDATE by any SQL client. An ordinary row meets no row trigger.

-- The future is not pending: a row inserted with a later run_at waits as 'scheduled'.
CREATE FUNCTION {schema}.schedule_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.status := 'scheduled';
    RETURN NEW;
END $$;
CREATE TRIGGER revisions_schedule BEFORE INSERT ON {schema}.revisions
    FOR EACH ROW WHEN (NEW.run_at > now() AND NEW.status = 'pending')
    EXECUTE FUNCTION {schema}.schedule_revision();

-- NOTIFY costs every commit of the database: it is sent once a statement, and only if a worker is hungry (R11).
-- It runs as its owner, so that a role that may only insert can enqueue.
CREATE FUNCTION {schema}.wake_hungry() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM {schema}.workers WHERE state = 'idle') THEN
        PERFORM pg_notify({channel}, '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER revisions_wake AFTER INSERT ON {schema}.revisions
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.wake_hungry();

-- A changed run_at decides anew where the row waits (R6).
CREATE FUNCTION {schema}.replace_run_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'scheduled' THEN
        NEW.parked := NULL;
    ELSIF NEW.run_at > clock_timestamp() THEN
        NEW.parked := 'due';
    ELSE
        NEW.parked := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER revisions_run_at BEFORE UPDATE OF run_at ON {schema}.revisions
    FOR EACH ROW WHEN (NEW.run_at IS DISTINCT FROM OLD.run_at AND NEW.status IN ('pending', 'scheduled'))
    EXECUTE FUNCTION {schema}.replace_run_at();

-- A cancel by plain SQL is a stamp; whoever carries it out is told at once (R9).
CREATE FUNCTION {schema}.tell_cancel() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify({channel}, '');
    RETURN NULL;
END $$;
CREATE TRIGGER revisions_cancel AFTER UPDATE OF cancel_requested_at ON {schema}.revisions
    FOR EACH ROW WHEN (NEW.cancel_requested_at IS NOT NULL AND OLD.cancel_requested_at IS NULL AND NEW.completed_at IS NULL)
    EXECUTE FUNCTION {schema}.tell_cancel();

-- P1: an end is an end. An operator's verb sets workerpool.actor for its transaction, and is recorded.
CREATE FUNCTION {schema}.keep_terminal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    actor text := current_setting('workerpool.actor', true);
BEGIN
    -- (A generated column is not known yet in a row that is about to be written.)
    IF to_jsonb(NEW) - '{actual_duration,updated_at}'::text[] = to_jsonb(OLD) - '{actual_duration,updated_at}'::text[] THEN
        RETURN NEW;
    END IF;
    IF coalesce(actor, '') = '' THEN
        RAISE EXCEPTION 'revision % is %: a finished revision does not change', OLD.id, OLD.status
            USING ERRCODE = 'integrity_constraint_violation',
                  HINT = 'Enqueue a new revision, or name yourself first: '
                         'SET LOCAL workerpool.actor = ''you@host''; the change is then recorded in control_events.';
    END IF;
    INSERT INTO {schema}.control_events (control, action, reason, actor, target)
    VALUES ('revision', NEW.status, 'was ' || OLD.status, actor, OLD.id::text);
    RETURN NEW;
END $$;
-- The condition is short because PostgreSQL parses it for each statement; completed_at is set exactly at the end (a table check).
CREATE TRIGGER revisions_keep_terminal BEFORE UPDATE ON {schema}.revisions
    FOR EACH ROW WHEN (OLD.completed_at IS NOT NULL)
    EXECUTE FUNCTION {schema}.keep_terminal();

CREATE FUNCTION {schema}.append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append only: what operators did stays on record', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER control_events_append_only BEFORE UPDATE OR DELETE ON {schema}.control_events
    FOR EACH ROW EXECUTE FUNCTION {schema}.append_only();
CREATE TRIGGER control_events_not_emptied BEFORE TRUNCATE ON {schema}.control_events
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.append_only();
