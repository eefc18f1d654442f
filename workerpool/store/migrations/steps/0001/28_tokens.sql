-- Work tokens: counted rights to be active, of code outside of the pool that must not be disturbed (R12, R15).
-- A token counts as long as its row is there. Its lease only permits to delete it: a renewal that is under way and a delete meet at the
-- row, so a token that was left out of a proof is never alive again.

-- activate_token: the guard of claims is that of tokens; null: the pool is paused, or about to be. Never waits.
CREATE FUNCTION {schema}.activate_token(the_kind text, the_holder text, the_host text, the_pid integer, lease interval) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    granted uuid;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'activate_token needs read committed: its look at the pause must see what was committed before it'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF NOT {schema}.may_work() THEN
        RETURN NULL;
    END IF;
    PERFORM {schema}.sweep_tokens();
    INSERT INTO {schema}.work_tokens (kind, holder, host, pid, expires_at)
    VALUES (the_kind, the_holder, the_host, the_pid, clock_timestamp() + lease)
    RETURNING id INTO granted;
    RETURN granted;
END $$;

-- renew_tokens: lengthen leases that are not over; one that is over may be left out of a proof already. Answers those that still count.
CREATE FUNCTION {schema}.renew_tokens(ids uuid[], lease interval) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
    UPDATE {schema}.work_tokens t SET expires_at = clock_timestamp() + lease
    WHERE t.id = ANY (ids) AND t.expires_at > clock_timestamp()
    RETURNING t.id
$$;

-- release_token: the right is given back. False: it was gone.
CREATE FUNCTION {schema}.release_token(token uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM {schema}.work_tokens t WHERE t.id = token;
    RETURN FOUND;
END $$;

-- sweep_tokens: delete tokens whose lease is over; one that is being renewed at this moment is left alone. Answers how many.
CREATE FUNCTION {schema}.sweep_tokens() RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gone integer;
BEGIN
    DELETE FROM {schema}.work_tokens t
    WHERE t.id = ANY (ARRAY(SELECT k.id FROM {schema}.work_tokens k WHERE k.expires_at <= clock_timestamp()
                            ORDER BY k.id LIMIT 1000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
