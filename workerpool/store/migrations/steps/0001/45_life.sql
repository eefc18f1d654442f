-- What operators do to revisions and items. Each verb takes the locks of its items first, then rows, and unparks in a new statement
-- (R2, R9); each is recorded in control_events with who did it. At most 128 items in a call (R5).

-- cancel: end what has not started, ask what runs. Whatever of it does not complete is cancelled (settle sees to that).
-- Answers for each id: 'cancelled', 'asked', 'ended' (it was over: status says how) or 'missing'.
CREATE FUNCTION {schema}.cancel(ids bigint[], why text, who text) RETURNS TABLE (id bigint, answer text, status text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    told    text := 'by ' || who || coalesce(': ' || nullif(why, ''), '');
    ended   bigint[];
    asked   bigint[];
    instant timestamptz;
BEGIN
    -- The rows that run are stamped under the same locks: nobody can start one of ours in between.
    PERFORM {schema}.lock_items(ARRAY(SELECT DISTINCT r.item_key::text FROM {schema}.revisions r WHERE r.id = ANY (ids)));
    ended := {schema}.dismiss(ids, 'cancelled', told, 'cancelled');
    instant := clock_timestamp();
    WITH written AS (
        UPDATE {schema}.revisions r SET cancel_requested_at = coalesce(r.cancel_requested_at, instant), updated_at = instant
        WHERE r.id = ANY (ids) AND r.status = 'processing'
        RETURNING r.id, r.attempt
    ), noted AS (
        INSERT INTO {schema}.execution_log (revision_id, attempt, at, level, message)
        SELECT w.id, w.attempt, instant, 'warning', 'cancel requested ' || told FROM written w
    )
    SELECT coalesce(array_agg(w.id), '{}') INTO asked FROM written w;
    INSERT INTO {schema}.control_events (control, action, reason, actor, target)
    SELECT 'revision', 'cancel', nullif(why, ''), who, i::text FROM unnest(ended || asked) AS i;
    RETURN QUERY
        SELECT i, CASE WHEN i = ANY (ended) THEN 'cancelled' WHEN i = ANY (asked) THEN 'asked'
                       WHEN r.id IS NULL THEN 'missing' ELSE 'ended' END, r.status::text
        FROM unnest(ids) WITH ORDINALITY AS u (i, place) LEFT JOIN {schema}.revisions r ON r.id = i ORDER BY u.place;
END $$;

-- carry_out_cancels: end what was stamped by plain SQL and has not started, by trying the locks of its items (R9).
-- Answers the stamped ones that run, on any host: their workers are to be asked.
CREATE FUNCTION {schema}.carry_out_cancels(how_many integer) RETURNS TABLE (id bigint, worker_id text, token uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    waiting bigint[];
BEGIN
    waiting := ARRAY(
        SELECT r.id FROM {schema}.revisions r
        WHERE r.cancel_requested_at IS NOT NULL AND r.completed_at IS NULL AND r.status IN ('draft', 'scheduled', 'pending')
        ORDER BY r.id LIMIT least(how_many, 128));
    IF cardinality(waiting) > 0 THEN
        waiting := ARRAY(
            SELECT r.id FROM (SELECT r.id, r.item_key::text FROM {schema}.revisions r WHERE r.id = ANY (waiting) OFFSET 0) r
            WHERE pg_try_advisory_xact_lock({schema}.item_lock(r.item_key)));
        PERFORM {schema}.dismiss(waiting, 'cancelled', 'as requested', 'cancelled');
    END IF;
    RETURN QUERY
        SELECT r.id, r.worker_id, r.claim_token FROM {schema}.revisions r
        WHERE r.cancel_requested_at IS NOT NULL AND r.completed_at IS NULL AND r.status = 'processing'
        ORDER BY r.id LIMIT how_many;
END $$;

-- retry: let what failed or was cancelled run again, in its place; with *append* a copy of it at the end of its item instead.
-- Answers for each id: 'retried', 'appended', 'has_successors' (later ones of its item have run: its place is gone), 'completed',
--   'not_ended' or 'missing'.
CREATE FUNCTION {schema}.retry(ids bigint[], who text, append boolean DEFAULT false) RETURNS TABLE (id bigint, answer text, new_id bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    item_keys text[] := ARRAY(SELECT DISTINCT r.item_key::text FROM {schema}.revisions r WHERE r.id = ANY (ids));
    one       {schema}.revisions;
BEGIN
    PERFORM {schema}.lock_items(item_keys);
    PERFORM set_config('workerpool.actor', who, true);
    -- Later ones first: two failures in a row are both retried. Copies are appended in order.
    FOR id IN SELECT i FROM unnest(ids) AS i ORDER BY CASE WHEN append THEN i ELSE -i END LOOP
        new_id := NULL;
        SELECT r.* INTO one FROM {schema}.revisions r WHERE r.id = retry.id FOR NO KEY UPDATE;
        answer := CASE WHEN one.id IS NULL THEN 'missing' WHEN one.completed_at IS NULL THEN 'not_ended'
                       WHEN append THEN 'appended' WHEN one.status = 'completed' THEN 'completed'
                       WHEN EXISTS (
                           SELECT 1 FROM {schema}.revisions l
                           WHERE l.item_key = one.item_key AND l.id > one.id
                             AND (l.attempt > 0 OR l.status IN ('processing', 'completed', 'failed'))) THEN 'has_successors'
                       ELSE 'retried' END;
        IF answer = 'appended' THEN
            INSERT INTO {schema}.revisions (item_key, handler, payload, priority, max_attempts, timeout_seconds, metadata)
            VALUES (one.item_key, one.handler, one.payload, one.priority, one.max_attempts, one.timeout_seconds,
                    coalesce(one.metadata, '{}') || jsonb_build_object('retries', one.id))
            RETURNING revisions.id INTO new_id;
            INSERT INTO {schema}.control_events (control, action, actor, target) VALUES ('revision', 'append', who, one.id::text);
        ELSIF answer = 'retried' THEN
            UPDATE {schema}.revisions r
            SET status = 'pending', parked = NULL, attempt = 0, crash_count = 0, claim_token = NULL, cancel_requested_at = NULL,
                run_at = least(r.run_at, clock_timestamp()), progress_percentage = NULL, current_step = NULL, completed_at = NULL,
                started_at = NULL, updated_at = clock_timestamp(),
                -- (another unfinished one may have taken the key meanwhile)
                dedupe_key = CASE WHEN NOT EXISTS (
                    SELECT 1 FROM {schema}.revisions t
                    WHERE t.item_key = r.item_key AND t.dedupe_key = r.dedupe_key
                      AND t.status IN ('draft', 'scheduled', 'pending', 'processing')) THEN r.dedupe_key END
            WHERE r.id = one.id;
            UPDATE {schema}.items i SET halted_at = NULL, halt_reason = NULL WHERE i.item_key = one.item_key AND i.halted_at IS NOT NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
    PERFORM {schema}.unpark({schema}.parked_heads(item_keys));   -- and wake somebody
END $$;

-- queue_drafts: drafts take part from now on. Answers for each id: 'queued', 'not_a_draft' or 'missing'.
CREATE FUNCTION {schema}.queue_drafts(ids bigint[], who text) RETURNS TABLE (id bigint, answer text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    item_keys text[] := ARRAY(SELECT DISTINCT r.item_key::text FROM {schema}.revisions r WHERE r.id = ANY (ids));
    instant   timestamptz;
    queued    bigint[];
BEGIN
    PERFORM {schema}.lock_items(item_keys);
    instant := clock_timestamp();
    WITH written AS (
        UPDATE {schema}.revisions r SET status = CASE WHEN r.run_at > instant THEN 'scheduled' ELSE 'pending' END, updated_at = instant
        WHERE r.id = ANY (ids) AND r.status = 'draft' RETURNING r.id
    ), noted AS (
        INSERT INTO {schema}.control_events (control, action, actor, target) SELECT 'revision', 'queue', who, w.id::text FROM written w
    )
    SELECT coalesce(array_agg(w.id), '{}') INTO queued FROM written w;
    PERFORM {schema}.unpark({schema}.parked_heads(item_keys));   -- and wake somebody
    RETURN QUERY
        SELECT i, CASE WHEN i = ANY (queued) THEN 'queued' WHEN r.id IS NULL THEN 'missing' ELSE 'not_a_draft' END
        FROM unnest(ids) WITH ORDINALITY AS u (i, place) LEFT JOIN {schema}.revisions r ON r.id = i ORDER BY u.place;
END $$;

-- edit: change what has not started; null leaves a thing as it is. Answers 'edited', 'started', 'ended' or 'missing'.
CREATE FUNCTION {schema}.edit(the_id bigint, who text, new_payload jsonb, new_priority smallint, new_run_at timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    item    text := (SELECT r.item_key::text FROM {schema}.revisions r WHERE r.id = the_id);
    instant timestamptz;
    edited  bigint;
BEGIN
    PERFORM {schema}.lock_items(ARRAY[item]);
    instant := clock_timestamp();
    UPDATE {schema}.revisions r
    SET payload = coalesce(new_payload, r.payload), priority = coalesce(new_priority, r.priority), run_at = coalesce(new_run_at, r.run_at),
        status = CASE WHEN new_run_at IS NULL OR r.status = 'draft' OR r.attempt > 0 THEN r.status::text
                      WHEN new_run_at > instant THEN 'scheduled' ELSE 'pending' END,
        updated_at = instant
    WHERE r.id = the_id AND r.status IN ('draft', 'scheduled', 'pending')
    RETURNING r.id INTO edited;
    IF edited IS NULL THEN
        RETURN coalesce((SELECT CASE r.status WHEN 'processing' THEN 'started' ELSE 'ended' END
                         FROM {schema}.revisions r WHERE r.id = the_id), 'missing');
    END IF;
    INSERT INTO {schema}.control_events (control, action, actor, target) VALUES ('revision', 'edit', who, the_id::text);
    PERFORM {schema}.unpark({schema}.parked_heads(ARRAY[item]));   -- it may have been the head, and somebody may be idle
    RETURN 'edited';
END $$;

-- halt: nothing of the item starts until the unhalt; what runs goes on. False: it was halted already.
CREATE FUNCTION {schema}.halt(item_key text, reason text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM {schema}.lock_items(ARRAY[halt.item_key]);
    INSERT INTO {schema}.items (item_key, halted_at, halt_reason) VALUES (halt.item_key, clock_timestamp(), reason)
    ON CONFLICT (item_key) DO UPDATE SET halted_at = excluded.halted_at, halt_reason = excluded.halt_reason WHERE items.halted_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.control_events (control, action, reason, actor, target) VALUES ('item', 'halt', reason, who, halt.item_key);
    RETURN true;
END $$;

-- unhalt: the item goes on, past what failed. False: it was not halted.
CREATE FUNCTION {schema}.unhalt(item_key text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM {schema}.lock_items(ARRAY[unhalt.item_key]);
    UPDATE {schema}.items i SET halted_at = NULL, halt_reason = NULL WHERE i.item_key = unhalt.item_key AND i.halted_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.control_events (control, action, actor, target) VALUES ('item', 'unhalt', who, unhalt.item_key);
    PERFORM {schema}.unpark({schema}.parked_heads(ARRAY[unhalt.item_key]));
    RETURN true;
END $$;

-- purge: delete everything of an item. Answers how many revisions there were; -1, and nothing is done, while one is processing.
CREATE FUNCTION {schema}.purge(item_key text, who text) RETURNS bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    deleted bigint;
BEGIN
    PERFORM {schema}.lock_items(ARRAY[purge.item_key]);
    IF EXISTS (SELECT 1 FROM {schema}.revisions r WHERE r.item_key = purge.item_key AND r.status = 'processing') THEN
        RETURN -1;
    END IF;
    DELETE FROM {schema}.revisions r WHERE r.item_key = purge.item_key;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    DELETE FROM {schema}.items i WHERE i.item_key = purge.item_key;
    INSERT INTO {schema}.control_events (control, action, reason, actor, target)
    VALUES ('item', 'purge', deleted || ' revisions', who, purge.item_key);
    RETURN deleted;
END $$;

-- then_enqueue: an attempt says what is to follow it; fenced by its token. Answers the continuation; null: the claim is lost.
-- The row is locked in share mode: an attempt that is being taken over waits, and finds its token gone.
CREATE FUNCTION {schema}.then_enqueue(
    the_id bigint, the_token uuid, the_attempt integer, item_key text, handler text, payload jsonb, fires_on text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    added bigint;
BEGIN
    WITH held AS (
        SELECT r.id FROM {schema}.revisions r
        WHERE r.id = the_id AND r.claim_token = the_token AND r.lease_expires_at IS NOT NULL FOR SHARE)
    INSERT INTO {schema}.continuations AS c (revision_id, fires_on, item_key, handler, payload, attempt)
    SELECT h.id, then_enqueue.fires_on, then_enqueue.item_key, then_enqueue.handler, then_enqueue.payload, the_attempt FROM held h
    RETURNING c.id INTO added;
    RETURN added;
END $$;
