-- turn: settle what was done and claim what is next, in one transaction and one round trip. The claim's half is the only place
-- where order is decided (R1). See docs/decisions.md and the comments at each step.
--
-- Arguments: those of settle, all arrays empty to claim only; the worker's name with its generation; the token made by the worker
--   for this claim; the handlers it has, and of each how many may run at once on all hosts (null: no limit); how many revisions it would finish soon; how many workers share the queue; the length of
--   the lease.
-- Locks, in this order: those of settle (waits, bounded by lock_timeout); the pause, shared (try); limited handlers (try), candidate rows (SKIP LOCKED), item
--   locks (try): the claim waits for nobody (R8).
-- Answers a row 'settled' for each outcome written, then one row for each revision claimed ('claimed'), or one row that says
--   'empty' (go idle) or 'contended' (try again soon).
CREATE FUNCTION {schema}.turn(
    ids bigint[], tokens uuid[], verdicts text[], results text[], messages text[], kinds text[], delays double precision[],
    crashes boolean[], the_worker text, the_token uuid, the_handlers text[], limits integer[], how_many integer, sharers integer,
    lease_for interval
) RETURNS TABLE (
    answer text, id bigint, item_key text, handler text, payload text, attempt integer, max_attempts integer,
    crash_count integer, timeout_seconds double precision, fence bigint, metadata text
) LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
DECLARE
    fences     constant regclass := format('%I.fence', {channel});
    instant    timestamptz;
    done       record;
    successors bigint[] := '{}';          -- made heads by this settlement, their items and rows locked
    item_locks integer := 128;            -- that this transaction may still take (R5)
    last_rank  integer := -2147483648;    -- where the page before ended: (-priority, id)
    last_id    bigint := 0;
    page       integer := how_many;
    due        boolean;
    due_looked boolean := false;
    looked     integer := 0;
    refused    boolean := false;          -- somebody else holds an item that we looked at
    exhausted  boolean := false;
    found      bigint[];                  -- the candidates of a page, in order
    items      text[];
    ranks      integer[];
    seen       integer;                   -- how many these are, then how many items
    heads      bigint[];
    blocked    bigint[];
    chosen     bigint[] := '{}';
    paused     boolean := true;           -- or about to be
    scopes     text[];                    -- the handlers and hosts that are paused beside
    limited    boolean;                   -- one of the handlers has such a limit
    counted    boolean := false;          -- and something to do
    rooms      integer[];                 -- of each handler how many more may run; null where none has a limit
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'claim needs read committed: each of its statements must see what was committed before it'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF cardinality(ids) > 0 THEN
        done := {schema}.settle(ids, tokens, verdicts, results, messages, kinds, delays, crashes, true);
        successors := done.successors;
        item_locks := 128 - done.items;
        answer := 'settled';
        FOREACH id IN ARRAY done.settled LOOP
            RETURN NEXT;
        END LOOP;
    END IF;
    -- The pause guard (R12), between the item locks and the rows; what it says holds to the end of this transaction.
    IF pg_try_advisory_xact_lock_shared({schema}.pause_lock()) THEN
        SELECT s.paused, s.scopes INTO paused, scopes FROM {schema}.pause_state s;   -- newer than the lock
        IF scopes <> '{}' THEN
            paused := paused OR 'host:' || split_part(the_worker, '/', 1) = ANY (scopes);
            SELECT coalesce(array_agg(u.name), '{}'), coalesce(array_agg(u.most), '{}') INTO the_handlers, limits
            FROM unnest(the_handlers, limits) AS u (name, most) WHERE 'handler:' || u.name <> ALL (scopes);
            paused := paused OR the_handlers = '{}';
        END IF;
    END IF;
    IF paused THEN
        limits := '{}';
        page := 0;   -- no row is looked at
        IF cardinality(successors) > 0 THEN
            PERFORM {schema}.unpark(successors);
            successors := '{}';
        END IF;
    END IF;
    limited := array_remove(limits, NULL) <> '{}';
    IF limited THEN
        -- one that has nothing to do is left out, so that it costs the others next to nothing
        SELECT coalesce(array_agg(h.name), '{}'), coalesce(array_agg(h.most), '{}'), count(*), coalesce(bool_or(h.most IS NOT NULL), false)
        INTO the_handlers, limits, seen, counted
        FROM unnest(the_handlers, limits) AS h (name, most)
        WHERE h.most IS NULL OR (
            SELECT 1 FROM {schema}.revisions p
            WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL LIMIT 1) IS NOT NULL;
    END IF;
    IF counted THEN
        found := ARRAY(SELECT h.place FROM unnest(the_handlers, limits) WITH ORDINALITY AS h (name, most, place)
                       WHERE h.most IS NULL OR pg_try_advisory_xact_lock({schema}.handler_lock(h.name)));
        refused := cardinality(found) < seen;
        -- in a statement whose snapshot is newer than the locks: a handler with no room is not looked at
        SELECT coalesce(array_agg(h.name), '{}'), array_agg(h.room) INTO the_handlers, rooms
        FROM (SELECT u.name, u.most - CASE WHEN u.most IS NOT NULL THEN (
                         SELECT count(*)::integer FROM {schema}.revisions p WHERE p.status = 'processing' AND p.handler = u.name) END AS room
              FROM unnest(the_handlers, limits) WITH ORDINALITY AS u (name, most, place) WHERE u.place = ANY (found)) h
        WHERE h.room > 0 OR h.room IS NULL;
    END IF;

    LOOP
        page := least(page, item_locks);
        EXIT WHEN page < 1;
        -- (a) candidates of this page, row locks that never wait; with the first page a look for what became due
        SELECT array_agg(c.id), array_agg(c.item_key), array_agg(c.rank), count(*), NOT due_looked AND EXISTS (
                   SELECT 1 FROM {schema}.revisions d
                   WHERE (d.status = 'scheduled' OR d.parked = 'due') AND d.run_at <= clock_timestamp())
        INTO found, items, ranks, seen, due
        FROM (SELECT r.id, r.item_key, r.rank FROM unnest(the_handlers) AS h (name) CROSS JOIN LATERAL (
                  SELECT p.id, p.item_key::text, -(p.priority::integer) AS rank FROM {schema}.revisions p
                  WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL
                    AND (-(p.priority::integer), p.id) > (last_rank, last_id)
                  ORDER BY -(p.priority::integer), p.id LIMIT page
                  FOR NO KEY UPDATE SKIP LOCKED) r
              ORDER BY r.rank, r.id LIMIT page) c;
        due_looked := true;
        IF due THEN   -- it takes part from now on (R6), if not in this turn
            refused := refused OR limited;
            UPDATE {schema}.revisions r SET status = 'pending', parked = NULL, updated_at = clock_timestamp()
            WHERE r.id = ANY (ARRAY(
                SELECT d.id FROM {schema}.revisions d
                WHERE (d.status = 'scheduled' OR d.parked = 'due') AND d.run_at <= clock_timestamp()
                ORDER BY d.run_at LIMIT 64 FOR NO KEY UPDATE SKIP LOCKED));
            CONTINUE;
        END IF;
        exhausted := seen < page;
        EXIT WHEN seen = 0;
        looked := looked + seen;
        last_rank := ranks[seen];
        last_id := found[seen];
        -- (b) the items of these candidates, by trying: what another transaction holds is left alone
        SELECT array_agg(l.id ORDER BY l.place) FILTER (WHERE l.got), array_agg(l.item_key ORDER BY l.place) FILTER (WHERE l.got),
               count(DISTINCT l.item_key), NOT bool_and(l.got) OR refused
        INTO found, items, seen, refused
        FROM (SELECT c.id, c.item_key, c.place, pg_try_advisory_xact_lock({schema}.item_lock(c.item_key)) AS got
              FROM unnest(found, items) WITH ORDINALITY AS c (id, item_key, place) OFFSET 0) l;
        item_locks := item_locks - seen;
        -- (c) in a statement whose snapshot is newer than the locks: heads, and those that are in the way.
        IF found IS NOT NULL THEN
            SELECT array_agg(c.id ORDER BY c.place) FILTER (WHERE c.is_head), array_agg(c.id) FILTER (WHERE NOT c.is_head)
            INTO heads, blocked
            FROM (SELECT u.id, u.place,
                         (SELECT p.id FROM {schema}.revisions p
                          WHERE p.item_key >= u.item_key AND p.item_key <= u.item_key AND p.status IN ('pending', 'processing')
                          ORDER BY p.item_key, p.id LIMIT 1) = u.id
                         AND (SELECT p.id FROM {schema}.revisions p
                              WHERE p.item_key = u.item_key AND p.status = 'processing' LIMIT 1) IS NULL
                         AND (SELECT 1 FROM {schema}.items i
                              WHERE i.item_key = u.item_key AND i.halted_at IS NOT NULL LIMIT 1) IS NULL AS is_head
                  FROM unnest(found, items) WITH ORDINALITY AS u (id, item_key, place)) c;
            chosen := chosen || coalesce(heads, '{}');
            IF blocked IS NOT NULL THEN
                UPDATE {schema}.revisions r SET parked = 'behind' WHERE r.id = ANY (blocked);
            END IF;
        END IF;
        EXIT WHEN exhausted OR cardinality(chosen) >= how_many
               OR looked >= CASE WHEN cardinality(chosen) = 0 THEN 2048 ELSE 256 END;
        page := least(page * 2 + 14, 256);
    END LOOP;

    IF cardinality(successors) > 0 THEN
        -- A revision that became due after the settlement looked may be the head before the successor: one of an item, the lowest.
        chosen := ARRAY(SELECT min(r.id) FROM {schema}.revisions r WHERE r.id = ANY (chosen || successors) GROUP BY r.item_key);
    END IF;
    IF rooms IS NOT NULL THEN
        chosen := ARRAY(
            SELECT c.id
            FROM (SELECT r.id, h.room, row_number() OVER (PARTITION BY r.handler ORDER BY -(r.priority::integer), r.id) AS place
                  FROM {schema}.revisions r JOIN unnest(the_handlers, rooms) AS h (name, room) ON h.name = r.handler
                  WHERE r.id = ANY (chosen)) c
            WHERE c.place <= c.room OR c.room IS NULL);
    END IF;
    -- A short queue is shared; a revision with a crash behind it is claimed alone (R22).
    IF exhausted THEN
        how_many := least(how_many, (cardinality(chosen) + greatest(sharers, 1) - 1) / greatest(sharers, 1));
    END IF;
    IF cardinality(chosen) > 1 OR how_many < 1 THEN
        chosen := ARRAY(
            SELECT c.id
            FROM (SELECT r.id, r.crash_count, row_number() OVER best AS place, first_value(r.crash_count) OVER best AS first_crashes
                  FROM {schema}.revisions r
                  WHERE r.id = ANY (chosen) AND r.handler = ANY (the_handlers)
                  WINDOW best AS (ORDER BY -(r.priority::integer), r.id)) c
            WHERE CASE WHEN c.first_crashes > 0 THEN c.place = 1 AND how_many > 0 ELSE c.place <= how_many AND c.crash_count = 0 END);
    END IF;
    seen := 0;
    IF cardinality(chosen) > 0 THEN
        instant := clock_timestamp();   -- after the locks, once (R7)
        RETURN QUERY
            UPDATE {schema}.revisions r
            SET status = 'processing', parked = NULL, attempt = r.attempt + 1, worker_id = the_worker, claim_token = the_token,
                lease_expires_at = instant + lease_for, fence = nextval(fences), started_at = instant, updated_at = instant
            WHERE r.id = ANY (chosen) AND r.handler = ANY (the_handlers)
            RETURNING 'claimed'::text, r.id, r.item_key::text, r.handler::text,
                      -- A large payload is read by token after the commit: a slow reader must not hold these locks (R13).
                      -- (What is stored may be compressed: the text is measured too.)
                      CASE WHEN pg_column_size(r.payload) <= 65536 AND octet_length(r.payload::text) <= 65536 THEN r.payload::text END,
                      r.attempt::integer, r.max_attempts::integer, r.crash_count::integer, r.timeout_seconds::double precision,
                      r.fence, r.metadata::text;
        GET DIAGNOSTICS seen = ROW_COUNT;
    END IF;
    IF cardinality(successors) > 0 AND (seen = 0 OR NOT successors <@ chosen) THEN
        PERFORM {schema}.unpark(successors);   -- those that were not taken
    END IF;
    IF seen = 0 THEN
        id := NULL;
        answer := CASE WHEN paused THEN 'paused' WHEN refused OR NOT exhausted OR EXISTS (
                           SELECT 1 FROM unnest(the_handlers) AS h (name), LATERAL (
                               SELECT 1 FROM {schema}.revisions p
                               WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL LIMIT 1) c)
                       THEN 'contended' ELSE 'empty' END;
        RETURN NEXT;
    END IF;
END $$;

-- claim: a turn with nothing to settle.
CREATE FUNCTION {schema}.claim(
    the_worker text, the_token uuid, the_handlers text[], limits integer[], how_many integer, sharers integer, lease_for interval
) RETURNS TABLE (
    answer text, id bigint, item_key text, handler text, payload text, attempt integer, max_attempts integer,
    crash_count integer, timeout_seconds double precision, fence bigint, metadata text
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY SELECT * FROM {schema}.turn(
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', the_worker, the_token, the_handlers, limits, how_many, sharers,
        lease_for);
END $$;
