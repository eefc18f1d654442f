-- What a verdict becomes where somebody asked for a cancel: everything but a success is one.
CREATE FUNCTION {schema}.final_verdict(verdict text, cancel_requested_at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN cancel_requested_at IS NOT NULL AND verdict <> 'completed' THEN 'cancelled' ELSE verdict END;

-- fire: enqueue what was to follow these revisions, which have just ended; in the transaction of their end, and once.
-- What an attempt asked for counts if no later attempt asked for anything. No locks are needed: a plain insert takes part at its commit.
CREATE FUNCTION {schema}.fire(ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    next   record;
    new_id bigint;
BEGIN
    FOR next IN
        SELECT c.id, c.revision_id, c.item_key, c.handler, c.payload
        FROM {schema}.continuations c JOIN {schema}.revisions r ON r.id = c.revision_id
        WHERE c.revision_id = ANY (ids) AND c.enqueued_id IS NULL AND r.completed_at IS NOT NULL
          AND c.fires_on IN ('any', r.status::text)
          AND (c.attempt IS NULL OR c.attempt = (
              SELECT max(l.attempt) FROM {schema}.continuations l WHERE l.revision_id = c.revision_id))
        ORDER BY c.id
    LOOP
        INSERT INTO {schema}.revisions (item_key, handler, payload, metadata)
        VALUES (next.item_key, next.handler, next.payload, jsonb_build_object('source', 'continuation', 'follows', next.revision_id))
        RETURNING id INTO new_id;
        UPDATE {schema}.continuations c SET enqueued_id = new_id WHERE c.id = next.id;
    END LOOP;
END $$;

-- settle: write the outcomes of attempts, each fenced by its token (R16), then let the items go on (R2, R3).
--
-- Arguments, parallel arrays: revision, claim token, verdict ('completed', 'failed', 'cancelled', 'retried', 'snoozed', 'released'),
--   result as JSON text, message and kind of the failure, seconds until it may run again, whether the attempt was a crash; then: whether the caller
--   sees to the successors itself in this transaction; whether only leases that have run out may be taken (a rescue).
-- Locks, in this order: item locks by hash (waits, bounded by lock_timeout), rows. At most 128 items in a call (R5).
-- Answers the revisions that were written: one that is missing had lost its claim, and nothing was changed for it; their items; how many item
--   locks were taken. One success, what a slow handler or a hot item settles, has statements of its own: without arrays they cost half.
CREATE FUNCTION {schema}.settle(
    ids bigint[], tokens uuid[], verdicts text[], results text[], messages text[], kinds text[], delays double precision[],
    crashes boolean[], keep_successors boolean DEFAULT false, only_expired boolean DEFAULT false,
    OUT settled bigint[], OUT item_keys text[], OUT items integer
) LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
DECLARE
    instant timestamptz;
    lock    bigint;
    item    text;
    follows boolean;
    heads   bigint[];
BEGIN
    IF cardinality(ids) > 128 THEN
        RAISE EXCEPTION 'at most 128 items in a transaction, % outcomes were given', cardinality(ids)
            USING ERRCODE = 'program_limit_exceeded', HINT = 'Locks are a resource of the whole server (R5): use smaller batches.';
    END IF;
    settled := '{}';
    IF cardinality(ids) = 1 THEN
        SELECT {schema}.item_lock(r.item_key) INTO lock FROM {schema}.revisions r WHERE r.id = ids[1];
        items := 1;
        IF NOT pg_try_advisory_xact_lock(lock) THEN   -- an expression without a statement of its own; that is for who has to wait
            PERFORM pg_advisory_xact_lock(lock);
        END IF;
    ELSE
        PERFORM pg_advisory_xact_lock(k.key)
        FROM (SELECT DISTINCT {schema}.item_lock(r.item_key) AS key FROM {schema}.revisions r WHERE r.id = ANY (ids) ORDER BY 1) k;
        GET DIAGNOSTICS items = ROW_COUNT;
    END IF;
    IF only_expired AND NOT {schema}.may_work() THEN
        RETURN;   -- in a pause nothing is rescued
    END IF;
    instant := clock_timestamp();
    -- The fence is the token, and a lease: a row has one exactly while it is processing (a table check). Asking for the status instead
    -- lets the planner walk all processing rows for each outcome.
    IF cardinality(ids) = 1 AND verdicts[1] = 'completed' AND NOT only_expired THEN
        UPDATE {schema}.revisions r
        SET status = 'completed', lease_expires_at = NULL, result = results[1]::jsonb, progress_percentage = 100,
            revision_number = 1 + coalesce((
                SELECT n.revision_number FROM {schema}.revisions n
                WHERE n.item_key = r.item_key AND n.revision_number IS NOT NULL
                ORDER BY n.revision_number DESC LIMIT 1), 0),
            completed_at = instant, updated_at = instant
        WHERE r.id = ids[1] AND r.claim_token = tokens[1] AND r.lease_expires_at IS NOT NULL
        RETURNING r.item_key::text, EXISTS (
            SELECT 1 FROM {schema}.continuations c WHERE c.revision_id = r.id AND c.enqueued_id IS NULL) INTO item, follows;
        IF item IS NULL THEN
            RETURN;
        END IF;
        settled := ids;
        item_keys := ARRAY[item];
    ELSIF verdicts <@ '{completed}' AND NOT only_expired THEN
        WITH written AS (
            UPDATE {schema}.revisions r
            SET status = 'completed', lease_expires_at = NULL, result = o.result::jsonb, progress_percentage = 100,
                revision_number = 1 + coalesce((
                    SELECT n.revision_number FROM {schema}.revisions n
                    WHERE n.item_key = r.item_key AND n.revision_number IS NOT NULL
                    ORDER BY n.revision_number DESC LIMIT 1), 0),
                completed_at = instant, updated_at = instant
            FROM unnest(ids, tokens, results) AS o (id, token, result)
            WHERE r.id = o.id AND r.claim_token = o.token AND r.lease_expires_at IS NOT NULL
            RETURNING r.id, r.item_key::text
        )
        SELECT array_agg(w.id), array_agg(w.item_key) INTO settled, item_keys FROM written w;
    ELSE
        WITH written AS (
            UPDATE {schema}.revisions r
            SET status = CASE WHEN {schema}.final_verdict(o.verdict, r.cancel_requested_at) IN ('retried', 'snoozed', 'released')
                              THEN 'pending' ELSE {schema}.final_verdict(o.verdict, r.cancel_requested_at) END,
                parked = CASE WHEN {schema}.final_verdict(o.verdict, r.cancel_requested_at) IN ('retried', 'snoozed') AND o.delay > 0
                              THEN 'due' END,
                run_at = CASE WHEN o.verdict IN ('retried', 'snoozed') AND o.delay > 0 THEN instant + o.delay * interval '1 second'
                              ELSE r.run_at END,
                attempt = r.attempt - (o.verdict IN ('snoozed', 'released'))::integer,
                crash_count = r.crash_count + coalesce(o.crashed, false)::integer,
                claim_token = CASE WHEN {schema}.final_verdict(o.verdict, r.cancel_requested_at) NOT IN ('retried', 'snoozed', 'released')
                                   THEN r.claim_token END,
                lease_expires_at = NULL,
                result = CASE WHEN o.verdict = 'completed' THEN o.result::jsonb ELSE r.result END,
                error_message = coalesce(o.message, r.error_message),
                error_kind = CASE WHEN {schema}.final_verdict(o.verdict, r.cancel_requested_at) = 'cancelled' THEN 'cancelled'
                                  ELSE coalesce(o.kind, r.error_kind) END,
                progress_percentage = CASE WHEN o.verdict = 'completed' THEN 100 ELSE r.progress_percentage END,
                revision_number = CASE WHEN o.verdict = 'completed' THEN 1 + coalesce((
                    SELECT n.revision_number FROM {schema}.revisions n
                    WHERE n.item_key = r.item_key AND n.revision_number IS NOT NULL
                    ORDER BY n.revision_number DESC LIMIT 1), 0) END,
                completed_at = CASE WHEN {schema}.final_verdict(o.verdict, r.cancel_requested_at) NOT IN ('retried', 'snoozed', 'released')
                                    THEN instant END,
                updated_at = instant
            FROM unnest(ids, tokens, verdicts, results, messages, kinds, delays, crashes)
                 AS o (id, token, verdict, result, message, kind, delay, crashed)
            WHERE r.id = o.id AND r.claim_token = o.token AND r.lease_expires_at IS NOT NULL
              AND (NOT only_expired OR r.lease_expires_at < instant)
            RETURNING r.id, r.item_key::text
        )
        SELECT array_agg(w.id), array_agg(w.item_key) INTO settled, item_keys FROM written w;
    END IF;
    IF settled IS NULL THEN
        settled := '{}';
        RETURN;
    END IF;
    IF array_remove(messages, NULL) <> '{}' THEN
        INSERT INTO {schema}.execution_log (revision_id, attempt, at, level, message, data)
        SELECT o.id, r.attempt + (o.verdict IN ('snoozed', 'released'))::integer, instant,
               CASE WHEN r.status = 'failed' THEN 'error' WHEN o.verdict = 'snoozed' THEN 'info' ELSE 'warning' END,
               -- (a retry's message says itself that it is one, and which)
               CASE WHEN r.status = 'cancelled' THEN 'cancelled: ' WHEN o.verdict = 'retried' THEN '' ELSE o.verdict || ': ' END || o.message,
               jsonb_build_object('kind', o.kind)
        FROM unnest(ids, verdicts, messages, kinds) AS o (id, verdict, message, kind)
        JOIN {schema}.revisions r ON r.id = o.id
        WHERE o.message IS NOT NULL AND o.id = ANY (settled);
    END IF;
    IF 'failed' = ANY (verdicts) THEN
        -- Where the handler wants it, the item stops at its failed revision until somebody looks.
        INSERT INTO {schema}.items (item_key, halted_at, halt_reason)
        SELECT DISTINCT ON (r.item_key) r.item_key, instant, 'revision ' || r.id || ' failed: ' || left(r.error_message, 500)
        FROM {schema}.revisions r JOIN {schema}.workers w ON w.id = r.worker_id
        WHERE r.id = ANY (settled) AND r.status = 'failed' AND r.handler = ANY (w.halting)
        ON CONFLICT (item_key) DO UPDATE SET halted_at = excluded.halted_at, halt_reason = excluded.halt_reason
        WHERE items.halted_at IS NULL;
    END IF;
    IF follows IS NULL THEN
        follows := EXISTS (SELECT 1 FROM {schema}.continuations c WHERE c.revision_id = ANY (settled) AND c.enqueued_id IS NULL LIMIT 1);
    END IF;
    IF follows THEN
        PERFORM {schema}.fire(settled);
    END IF;
    IF NOT keep_successors THEN
        -- in a new statement, so that what was inserted and parked meanwhile is seen
        heads := {schema}.parked_heads(item_keys);
        IF cardinality(heads) > 0 OR NOT verdicts <@ '{completed,failed,cancelled}' THEN
            PERFORM {schema}.unpark(heads);   -- also to wake somebody for what was given back
        END IF;
    END IF;
END $$;

-- dismiss: end revisions that have not started, under the locks of their items (R2), which *halts* says to stop there.
-- Answers those that were ended: the others had started or ended.
CREATE FUNCTION {schema}.dismiss(ids bigint[], verdict text, message text, kind text, halts boolean DEFAULT false) RETURNS bigint[]
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    item_keys text[];
    ended     bigint[];
    instant   timestamptz;
BEGIN
    item_keys := ARRAY(SELECT DISTINCT r.item_key::text FROM {schema}.revisions r WHERE r.id = ANY (ids));
    PERFORM {schema}.lock_items(item_keys);
    IF verdict = 'failed' AND NOT {schema}.may_work() THEN
        RETURN '{}';   -- nobody asked for this: it can wait until the resume
    END IF;
    instant := clock_timestamp();
    WITH written AS (
        UPDATE {schema}.revisions r
        SET status = verdict, parked = NULL, error_message = message, error_kind = kind, completed_at = instant, updated_at = instant,
            cancel_requested_at = CASE WHEN verdict = 'cancelled' THEN coalesce(r.cancel_requested_at, instant)
                                       ELSE r.cancel_requested_at END
        WHERE r.id = ANY (ids) AND r.status IN ('draft', 'scheduled', 'pending')
        RETURNING r.id, r.attempt
    ), noted AS (
        INSERT INTO {schema}.execution_log (revision_id, attempt, at, level, message, data)
        SELECT w.id, w.attempt, instant, CASE verdict WHEN 'failed' THEN 'error' ELSE 'warning' END, verdict || ': ' || message,
               jsonb_build_object('kind', kind) FROM written w
    )
    SELECT coalesce(array_agg(w.id), '{}') INTO ended FROM written w;
    IF halts AND cardinality(ended) > 0 THEN
        INSERT INTO {schema}.items (item_key, halted_at, halt_reason)
        SELECT DISTINCT ON (r.item_key) r.item_key, instant, 'revision ' || r.id || ' ' || verdict || ': ' || left(message, 500)
        FROM {schema}.revisions r WHERE r.id = ANY (ended)
        ON CONFLICT (item_key) DO UPDATE SET halted_at = excluded.halted_at, halt_reason = excluded.halt_reason
        WHERE items.halted_at IS NULL;
    END IF;
    PERFORM {schema}.fire(ended);
    PERFORM {schema}.unpark({schema}.parked_heads(item_keys));
    RETURN ended;
END $$;

-- heal: unpark heads that foreign SQL stranded (R10). Looks at up to how_many items after the given key, by trying their locks.
-- Answers the last key looked at (null: the end) and the revisions that were stranded.
CREATE FUNCTION {schema}.heal(after text, how_many integer, OUT last_key text, OUT healed bigint[]) LANGUAGE plpgsql
AS $$
DECLARE
    looked    text[];
    stranded  text[];
BEGIN
    WITH RECURSIVE line AS (
        (SELECT r.item_key::text, 1 AS n FROM {schema}.revisions r
         WHERE r.status = 'pending' AND r.item_key > after ORDER BY r.item_key LIMIT 1)
        UNION ALL
        SELECT x.item_key, l.n + 1 FROM line l CROSS JOIN LATERAL (
            SELECT r.item_key::text FROM {schema}.revisions r
            WHERE r.status = 'pending' AND r.item_key > l.item_key ORDER BY r.item_key LIMIT 1) x
        WHERE l.n < how_many)
    SELECT array_agg(l.item_key ORDER BY l.item_key) INTO looked FROM line l;
    healed := '{}';
    IF cardinality(looked) = how_many THEN
        last_key := looked[how_many];
    END IF;
    healed := {schema}.parked_heads(coalesce(looked, '{}'));
    stranded := ARRAY(SELECT r.item_key FROM {schema}.revisions r WHERE r.id = ANY (healed) LIMIT 128);
    healed := '{}';
    IF cardinality(stranded) > 0 AND {schema}.may_work() THEN
        stranded := ARRAY(SELECT s FROM unnest(stranded) s WHERE pg_try_advisory_xact_lock({schema}.item_lock(s)));
        healed := {schema}.parked_heads(stranded);
        PERFORM {schema}.unpark(healed);
    END IF;
END $$;
