-- payload_to_send: the payload as text; null where it is over 64 KB: a slow reader must not hold a claim's locks, so it is read by token
-- after the commit (R13). What is stored may be compressed, so the text is measured too, unless it cannot be that long.
CREATE FUNCTION {schema}.payload_to_send(payload jsonb) RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN pg_column_size(payload) <= 512 OR pg_column_size(payload) <= 65536 AND octet_length(payload::text) <= 65536
            THEN payload::text END;

-- park_line: park what stands behind a place in the lines of these items, of each that is named often up to 2,000. The caller holds their
-- locks, and has seen that each of them has something pending up to that place. One by one, as claims come to them, rows cost four times as much.
-- Answers how many there were.
CREATE FUNCTION {schema}.park_line(item_keys text[], behind bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parked integer;
BEGIN
    UPDATE {schema}.revisions r SET parked = 'behind'
    WHERE r.id = ANY (ARRAY(
        SELECT b.id FROM (SELECT i AS item_key FROM unnest(item_keys) AS i GROUP BY i HAVING count(*) > 8) k CROSS JOIN LATERAL (
            SELECT p.id FROM {schema}.revisions p
            WHERE p.item_key >= k.item_key AND p.item_key <= k.item_key AND p.status = 'pending' AND p.parked IS NULL
              AND p.id > behind
            ORDER BY p.item_key, p.id LIMIT 2000 FOR NO KEY UPDATE SKIP LOCKED) b));
    GET DIAGNOSTICS parked = ROW_COUNT;
    RETURN parked;
END $$;

-- turn: settle what was done and claim what is next, in one transaction and one round trip. The claim's half is the only place
-- where order is decided (R1). See docs/decisions.md and the comments at each step.
--
-- Arguments: those of settle, all arrays empty to claim only; the worker's name with its generation; the token made by the worker
--   for this claim; the handlers it has, and of each how many may run at once on all hosts (null: no limit); how many revisions it would finish soon; how many workers share the queue; the length of
--   the lease; then where to begin to look, as (-priority, id): there a turn before had claimed, and what it left behind in the index is
--   stepped over. What is before that place is looked at if too little is behind it.
-- Locks, in this order: those of settle (waits, bounded by lock_timeout); the pause, shared (try); limited handlers (try), candidate rows (SKIP LOCKED), item
--   locks (try): the claim waits for nobody (R8).
-- Answers a row 'settled' for each outcome written, then one row for each revision claimed ('claimed'), or one row that says
--   'empty' (go idle) or 'contended' (try again soon). Before that a row 'next', unless there were too few: where the following turn may
--   begin (attempt: the rank, id).
CREATE FUNCTION {schema}.turn(
    ids bigint[], tokens uuid[], verdicts text[], results text[], messages text[], kinds text[], delays double precision[],
    crashes boolean[], the_worker text, the_token uuid, the_handlers text[], limits integer[], how_many integer, sharers integer,
    lease_for interval, from_rank integer DEFAULT -2147483648, from_id bigint DEFAULT 0
) RETURNS TABLE (
    answer text, id bigint, item_key text, handler text, payload text, attempt integer, max_attempts integer,
    crash_count integer, timeout_seconds double precision, fence bigint, metadata text
) LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
DECLARE
    fences     constant regclass := format('%I.fence', {channel});
    instant    timestamptz;
    the_fence  bigint;                    -- rises with each turn, and so with each claim of an item
    done       record;
    ended      bigint[] := '{}';          -- what was settled, and its items
    ended_in   text[];
    alone      text;                      -- the item, if it was one
    next_id    bigint;                    -- the head there now, whether it is parked behind, and whether it may go on at once
    next_waits boolean;
    next_may   boolean;
    next_rank  integer;
    successors bigint[] := '{}';          -- made heads by this settlement, their items and rows locked
    item_locks integer := 128;            -- that this transaction may still take (R5)
    last_rank  integer := from_rank;      -- where the page before ended: (-priority, id)
    last_id    bigint := from_id;
    to_rank    integer := 2147483647;     -- where to stop to look
    to_id      bigint := 9223372036854775807;
    page       integer;
    due        boolean;
    due_looked boolean := false;
    looked     integer := 0;
    refused    boolean := false;          -- somebody else holds an item that we looked at
    exhausted  boolean := false;
    found      bigint[];                  -- the candidates of a page, in order
    items      text[];
    ranks      integer[];
    crashed    boolean;                   -- one of them has a crash behind it
    fragile    boolean := false;          -- or of all pages
    seen       integer;                   -- how many these are, then how many items
    heads      bigint[];
    blocked    bigint[];
    chosen     bigint[] := '{}';
    candidates bigint[];                  -- those of chosen that are no successors
    claimed    integer := 0;
    paused     boolean := true;           -- or about to be
    scopes     text[];                    -- the handlers and hosts that are paused beside
    limited    boolean := array_remove(limits, NULL) <> '{}';   -- one of the handlers has such a limit
    counted    boolean := false;          -- and something to do
    rooms      integer[];                 -- of each handler how many more may run; null where none has a limit
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'claim needs read committed: each of its statements must see what was committed before it'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF cardinality(ids) > 0 THEN
        done := {schema}.settle(ids, tokens, verdicts, results, messages, kinds, delays, crashes, true);
        item_locks := 128 - done.items;
        ended := done.settled;
        ended_in := done.item_keys;
        IF cardinality(ended) = 1 THEN
            alone := ended_in[1];
        END IF;
        answer := 'settled';
        FOREACH id IN ARRAY ended LOOP
            RETURN NEXT;
        END LOOP;
    END IF;
    instant := clock_timestamp();   -- (a variable: an index is not asked for what changes while one looks)
    -- The pause guard (R12), between the item locks and the rows; what it says holds to the end of this transaction.
    IF pg_try_advisory_xact_lock_shared({schema}.pause_lock()) THEN
        -- Newer than the locks. The same look finds what follows the one that was settled. That may go on at once, unless it backs off, is
        -- halted, has a crash behind it, something became due, or another comes before it.
        SELECT s.paused, s.scopes, n.id, coalesce(n.parked = 'behind', false),
               n.id IS NOT NULL AND NOT limited AND n.parked IS DISTINCT FROM 'due' AND n.crash_count = 0 AND n.handler = ANY (the_handlers)
               AND (SELECT 1 FROM {schema}.items i WHERE i.item_key = alone AND i.halted_at IS NOT NULL LIMIT 1) IS NULL
               AND (SELECT 1 FROM {schema}.revisions d
                    WHERE (d.status = 'scheduled' OR d.parked = 'due') AND d.run_at <= instant ORDER BY d.run_at LIMIT 1) IS NULL
               AND (SELECT 1 FROM unnest(the_handlers) AS h (name), LATERAL (
                        SELECT 1 FROM {schema}.revisions p
                        WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL
                          AND (-(p.priority::integer), p.id) >= (from_rank, from_id)
                          AND (-(p.priority::integer), p.id) < (-(n.priority::integer), n.id)
                        ORDER BY -(p.priority::integer), p.id LIMIT 1) b LIMIT 1) IS NULL
        INTO paused, scopes, next_id, next_waits, next_may
        FROM {schema}.pause_state s LEFT JOIN LATERAL (
            SELECT p.id, p.parked, p.crash_count, p.handler, p.priority FROM {schema}.revisions p
            WHERE p.item_key >= alone AND p.item_key <= alone AND p.status = 'pending'
            ORDER BY p.item_key, p.id LIMIT 1) n ON true;
        IF scopes <> '{}' THEN
            next_may := false;
            paused := paused OR 'host:' || split_part(the_worker, '/', 1) = ANY (scopes);
            SELECT coalesce(array_agg(u.name), '{}'), coalesce(array_agg(u.most), '{}') INTO the_handlers, limits
            FROM unnest(the_handlers, limits) AS u (name, most) WHERE 'handler:' || u.name <> ALL (scopes);
            paused := paused OR the_handlers = '{}';
        END IF;
    END IF;
    the_fence := nextval(fences);
    IF next_may AND NOT paused THEN
        instant := clock_timestamp();   -- after the locks, once (R7)
        UPDATE {schema}.revisions r
        SET status = 'processing', parked = NULL, attempt = r.attempt + 1, worker_id = the_worker, claim_token = the_token,
            lease_expires_at = instant + lease_for, fence = the_fence, started_at = instant, updated_at = instant
        WHERE r.id = next_id AND r.status = 'pending' AND r.parked IS DISTINCT FROM 'due' AND r.handler = ANY (the_handlers)
        RETURNING 'claimed', r.id, r.item_key::text, r.handler::text, {schema}.payload_to_send(r.payload), r.attempt::integer,
                  r.max_attempts::integer, r.crash_count::integer, r.timeout_seconds::double precision, r.fence, r.metadata::text,
                  -(r.priority::integer)
        INTO answer, id, item_key, handler, payload, attempt, max_attempts, crash_count, timeout_seconds, fence, metadata, next_rank;
        GET DIAGNOSTICS claimed = ROW_COUNT;
        IF claimed = 1 THEN
            RETURN NEXT;
            last_rank := next_rank;   -- nothing came before it
            last_id := next_id;
            how_many := how_many - 1;
            IF how_many < 1 THEN
                answer := 'next';
                attempt := last_rank;
                RETURN NEXT;
                RETURN;
            END IF;
        END IF;
    END IF;
    IF claimed = 0 AND cardinality(ended) > 0 AND (alone IS NULL OR next_waits IS NOT FALSE) THEN
        -- in a new statement, so that what was inserted and parked meanwhile is seen
        successors := {schema}.parked_heads(ended_in);
    END IF;
    IF paused THEN
        limited := false;
        how_many := 0;   -- no row is looked at
        IF cardinality(successors) > 0 THEN
            PERFORM {schema}.unpark(successors);
            successors := '{}';
        END IF;
    END IF;
    IF limited THEN
        -- one that has nothing to do is left out, so that it costs the others next to nothing
        SELECT coalesce(array_agg(h.name), '{}'), coalesce(array_agg(h.most), '{}'), count(*), coalesce(bool_or(h.most IS NOT NULL), false)
        INTO the_handlers, limits, seen, counted
        FROM unnest(the_handlers, limits) AS h (name, most)
        WHERE h.most IS NULL OR (
            SELECT 1 FROM {schema}.revisions p
            WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL
            ORDER BY -(p.priority::integer), p.id LIMIT 1) IS NOT NULL;
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

    page := how_many;
    LOOP
        page := least(page, item_locks);
        EXIT WHEN page < 1;
        -- (a) candidates of this page, row locks that never wait; with the first page a look for what became due.
        SELECT array_agg(c.id), array_agg(c.item_key), array_agg(c.rank), count(*), bool_or(c.crash_count > 0), NOT due_looked AND (
                   SELECT 1 FROM {schema}.revisions d
                   WHERE (d.status = 'scheduled' OR d.parked = 'due') AND d.run_at <= instant ORDER BY d.run_at LIMIT 1) IS NOT NULL
        INTO found, items, ranks, seen, crashed, due
        FROM (SELECT r.id, r.item_key, r.rank, r.crash_count FROM unnest(the_handlers) AS h (name) CROSS JOIN LATERAL (
                  SELECT p.id, p.item_key::text, -(p.priority::integer) AS rank, p.crash_count FROM {schema}.revisions p
                  WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL
                    AND (-(p.priority::integer), p.id) > (last_rank, last_id) AND (-(p.priority::integer), p.id) <= (to_rank, to_id)
                  ORDER BY -(p.priority::integer), p.id LIMIT page
                  FOR NO KEY UPDATE SKIP LOCKED) r
              ORDER BY r.rank, r.id LIMIT page) c;
        due_looked := true;
        IF due THEN   -- it takes part from now on (R6), if not in this turn, and wherever it stands
            last_rank := -2147483648;
            last_id := 0;
            from_id := 0;
            refused := refused OR limited;
            UPDATE {schema}.revisions r SET status = 'pending', parked = NULL, updated_at = clock_timestamp()
            WHERE r.id = ANY (ARRAY(
                SELECT d.id FROM {schema}.revisions d
                WHERE (d.status = 'scheduled' OR d.parked = 'due') AND d.run_at <= instant
                ORDER BY d.run_at LIMIT 64 FOR NO KEY UPDATE SKIP LOCKED));
            CONTINUE;
        END IF;
        exhausted := seen < page;
        IF exhausted AND from_id > 0 THEN   -- what is before the beginning, too
            to_rank := from_rank;
            to_id := from_id;
            last_rank := -2147483648;
            last_id := 0;
            from_id := 0;
            exhausted := false;
            fragile := true;         -- no longer in order
            CONTINUE WHEN seen = 0;
        ELSIF seen > 0 THEN
            last_rank := ranks[seen];
            last_id := found[seen];
        END IF;
        EXIT WHEN seen = 0;
        looked := looked + seen;
        fragile := fragile OR crashed;
        -- (b) the items of these candidates, by trying: what another transaction holds is left alone
        IF seen = 1 THEN
            IF NOT pg_try_advisory_xact_lock({schema}.item_lock(items[1])) THEN
                refused := true;
                found := NULL;
            END IF;
        ELSE
            SELECT array_agg(l.id ORDER BY l.place) FILTER (WHERE l.got), array_agg(l.item_key ORDER BY l.place) FILTER (WHERE l.got),
                   count(DISTINCT l.item_key), NOT bool_and(l.got) OR refused
            INTO found, items, seen, refused
            FROM (SELECT c.id, c.item_key, c.place, pg_try_advisory_xact_lock({schema}.item_lock(c.item_key)) AS got
                  FROM unnest(found, items) WITH ORDINALITY AS c (id, item_key, place) OFFSET 0) l;
        END IF;
        item_locks := item_locks - seen;
        -- (c) in a statement whose snapshot is newer than the locks: heads, and those that are in the way.
        IF found IS NOT NULL THEN
            SELECT array_agg(c.id ORDER BY c.place) FILTER (WHERE c.is_head), array_agg(c.id) FILTER (WHERE NOT c.is_head)
            INTO heads, blocked
            FROM (SELECT u.id, u.place,
                         (SELECT p.id FROM {schema}.revisions p
                          WHERE p.item_key >= u.item_key AND p.item_key <= u.item_key AND p.status = 'pending'
                          ORDER BY p.item_key, p.id LIMIT 1) = u.id
                         AND (SELECT p.id FROM {schema}.revisions p
                              WHERE p.item_key = u.item_key AND p.status = 'processing' LIMIT 1) IS NULL
                         AND (SELECT 1 FROM {schema}.items i
                              WHERE i.item_key = u.item_key AND i.halted_at IS NOT NULL LIMIT 1) IS NULL AS is_head
                  FROM unnest(found, items) WITH ORDINALITY AS u (id, item_key, place)) c;
            chosen := chosen || coalesce(heads, '{}');
            IF blocked IS NOT NULL THEN
                UPDATE {schema}.revisions r SET parked = 'behind' WHERE r.id = ANY (blocked);
                IF cardinality(blocked) > 32 THEN
                    looked := looked + {schema}.park_line(items, (SELECT max(f) FROM unnest(found) f));   -- a deep item has come: that is enough for a turn
                END IF;
            END IF;
        END IF;
        EXIT WHEN exhausted OR cardinality(chosen) >= how_many
               OR looked >= CASE WHEN cardinality(chosen) = 0 THEN 2048 ELSE 1024 END;
        page := least(page * 2 + 14, 256);
    END LOOP;

    candidates := chosen;
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
    IF fragile OR rooms IS NOT NULL OR cardinality(successors) > 0 THEN
        chosen := ARRAY(
            SELECT c.id
            FROM (SELECT r.id, r.crash_count, row_number() OVER best AS place, first_value(r.crash_count) OVER best AS first_crashes
                  FROM {schema}.revisions r
                  WHERE r.id = ANY (chosen) AND r.handler = ANY (the_handlers)
                  WINDOW best AS (ORDER BY -(r.priority::integer), r.id)) c
            WHERE CASE WHEN c.first_crashes > 0 AND claimed = 0 THEN c.place = 1 AND how_many > 0
                       ELSE c.place <= how_many AND c.crash_count = 0 END);
    ELSE
        chosen := chosen[1:how_many];   -- they are in order
    END IF;
    seen := 0;
    IF cardinality(chosen) > 0 THEN
        instant := clock_timestamp();   -- after the locks, once (R7)
        RETURN QUERY
            UPDATE {schema}.revisions r
            SET status = 'processing', parked = NULL, attempt = r.attempt + 1, worker_id = the_worker, claim_token = the_token,
                lease_expires_at = instant + lease_for, fence = the_fence, started_at = instant, updated_at = instant
            WHERE r.id = ANY (chosen) AND r.handler = ANY (the_handlers)
            RETURNING 'claimed'::text, r.id, r.item_key::text, r.handler::text, {schema}.payload_to_send(r.payload), r.attempt::integer,
                      r.max_attempts::integer, r.crash_count::integer, r.timeout_seconds::double precision, r.fence, r.metadata::text;
        GET DIAGNOSTICS seen = ROW_COUNT;
    END IF;
    IF cardinality(successors) > 0 AND (seen = 0 OR NOT successors <@ chosen) THEN
        PERFORM {schema}.unpark(successors);   -- those that were not taken
    END IF;
    IF looked > 0 AND NOT exhausted AND candidates <@ chosen THEN
        answer := 'next';
        id := last_id;
        attempt := last_rank;
        RETURN NEXT;
    END IF;
    IF seen + claimed = 0 THEN
        id := NULL;
        answer := CASE WHEN paused THEN 'paused' WHEN refused OR NOT exhausted OR (
                           SELECT 1 FROM unnest(the_handlers) AS h (name), LATERAL (
                               SELECT 1 FROM {schema}.revisions p
                               WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL
                               ORDER BY -(p.priority::integer), p.id LIMIT 1) c LIMIT 1) IS NOT NULL
                       THEN 'contended' ELSE 'empty' END;
        RETURN NEXT;
    END IF;
END $$;
