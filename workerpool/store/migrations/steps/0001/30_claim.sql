-- claim: the only place where order is decided (R1). See docs/decisions.md and the comments at each step.
--
-- Arguments: the worker's name with its generation; the token made by the worker for this claim; the handlers it has;
--   how many revisions it would finish soon; how many workers share the queue; the length of the lease; revisions that the
--   settlement in this transaction made heads (locked, their items locked); item locks that this transaction may still take.
-- Locks, in this order: candidate rows (SKIP LOCKED), item locks (try). It waits for nobody (R8).
-- Answers one row for each revision claimed ('claimed'), or one row that says 'empty' (go idle) or 'contended' (try again soon).
CREATE FUNCTION {schema}.claim(
    the_worker text, the_token uuid, the_handlers text[], how_many integer, sharers integer, lease_for interval,
    successors bigint[] DEFAULT '{}', item_locks integer DEFAULT 128
) RETURNS TABLE (
    answer text, id bigint, item_key text, handler text, payload text, attempt integer, max_attempts integer,
    crash_count integer, timeout_seconds double precision, fence bigint, metadata text
) LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
DECLARE
    instant   timestamptz;
    last_rank integer := -2147483648;   -- where the page before ended: (-priority, id)
    last_id   bigint := 0;
    page      integer := how_many;
    seen      integer;                   -- rows of this page, then its items
    ranks     integer[];
    looked    integer := 0;
    refused   boolean := false;          -- somebody else holds an item that we looked at
    exhausted boolean := false;
    ids       bigint[];
    items     text[];
    heads     bigint[];
    blocked   bigint[];
    all_heads bigint[] := '{}';
    chosen    bigint[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'claim needs read committed: each of its statements must see what was committed before it'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    -- The pause guard (R12) has its place here, before anything is touched.

    -- What became due takes part from now on (R6).
    IF EXISTS (SELECT 1 FROM {schema}.revisions r
               WHERE (r.status = 'scheduled' OR r.parked = 'due') AND r.run_at <= clock_timestamp()) THEN
        UPDATE {schema}.revisions r SET status = 'pending', parked = NULL, updated_at = clock_timestamp()
        WHERE r.id = ANY (ARRAY(
            SELECT d.id FROM {schema}.revisions d
            WHERE (d.status = 'scheduled' OR d.parked = 'due') AND d.run_at <= clock_timestamp()
            ORDER BY d.run_at LIMIT 64 FOR UPDATE SKIP LOCKED));
    END IF;

    LOOP
        page := least(page, item_locks);
        EXIT WHEN page < 1;
        -- (a) candidates of this page, row locks that never wait
        SELECT array_agg(c.id), array_agg(c.item_key), array_agg(c.rank), count(*) INTO ids, items, ranks, seen
        FROM (SELECT r.id, r.item_key, r.rank FROM unnest(the_handlers) AS h (name) CROSS JOIN LATERAL (
                  SELECT p.id, p.item_key::text, -(p.priority::integer) AS rank FROM {schema}.revisions p
                  WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL
                    AND (-(p.priority::integer), p.id) > (last_rank, last_id)
                  ORDER BY -(p.priority::integer), p.id LIMIT page
                  FOR UPDATE SKIP LOCKED) r
              ORDER BY r.rank, r.id LIMIT page) c;
        exhausted := seen < page;
        EXIT WHEN seen = 0;
        looked := looked + seen;
        last_rank := ranks[seen];
        last_id := ids[seen];
        -- (b) the items of these candidates, by trying: what another transaction holds is left alone
        SELECT array_agg(l.id ORDER BY l.place) FILTER (WHERE l.got), array_agg(l.item_key ORDER BY l.place) FILTER (WHERE l.got),
               count(DISTINCT l.item_key), NOT bool_and(l.got) OR refused
        INTO ids, items, seen, refused
        FROM (SELECT c.id, c.item_key, c.place, pg_try_advisory_xact_lock({schema}.item_lock(c.item_key)) AS got
              FROM unnest(ids, items) WITH ORDINALITY AS c (id, item_key, place) OFFSET 0) l;
        item_locks := item_locks - seen;
        -- (c) in a statement whose snapshot is newer than the locks: heads, and those that are in the way.
        -- (The key is asked for as a range, so that no planner takes the primary key for the order and walks a hot item's past.)
        IF ids IS NOT NULL THEN
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
                  FROM unnest(ids, items) WITH ORDINALITY AS u (id, item_key, place)) c;
            all_heads := all_heads || coalesce(heads, '{}');
            IF blocked IS NOT NULL THEN
                UPDATE {schema}.revisions r SET parked = 'behind' WHERE r.id = ANY (blocked);
            END IF;
        END IF;
        EXIT WHEN exhausted OR cardinality(all_heads) >= how_many
               OR looked >= CASE WHEN cardinality(all_heads) = 0 THEN 2048 ELSE 256 END;
        page := least(page * 2 + 14, 256);
    END LOOP;

    IF cardinality(all_heads) + cardinality(successors) > 0 THEN
        instant := clock_timestamp();   -- after the locks, once (R7)
        -- A short queue is shared; a revision with a crash behind it is claimed alone (R22).
        IF exhausted THEN
            how_many := least(how_many, ceil((cardinality(all_heads) + cardinality(successors))::numeric / greatest(sharers, 1)));
        END IF;
        SELECT array_agg(c.id) INTO chosen
        FROM (SELECT r.id, row_number() OVER best AS place, first_value(r.crash_count > 0) OVER best AS first_crashed
              FROM {schema}.revisions r
              WHERE r.id = ANY (all_heads || successors) AND r.handler = ANY (the_handlers)
              WINDOW best AS (ORDER BY -(r.priority::integer), r.id)) c
        WHERE c.place <= CASE WHEN c.first_crashed THEN 1 ELSE how_many END;
        IF chosen IS NOT NULL AND cardinality(chosen) > 1 THEN
            chosen := ARRAY(SELECT r.id FROM {schema}.revisions r WHERE r.id = ANY (chosen) AND r.crash_count = 0);
        END IF;
        RETURN QUERY
            UPDATE {schema}.revisions r
            SET status = 'processing', parked = NULL, attempt = r.attempt + 1, worker_id = the_worker, claim_token = the_token,
                lease_expires_at = instant + lease_for, fence = nextval('{schema}.fence'), started_at = instant, updated_at = instant
            WHERE r.id = ANY (chosen)
            RETURNING 'claimed'::text, r.id, r.item_key::text, r.handler::text,
                      -- A large payload is read by token after the commit: a slow reader must not hold these locks (R13).
                      -- (What is stored may be compressed: the text is measured too.)
                      CASE WHEN pg_column_size(r.payload) <= 65536 AND octet_length(r.payload::text) <= 65536 THEN r.payload::text END,
                      r.attempt::integer, r.max_attempts::integer, r.crash_count::integer, r.timeout_seconds::double precision, r.fence, r.metadata::text;
        IF NOT successors <@ coalesce(chosen, '{}') THEN
            PERFORM {schema}.unpark(ARRAY(SELECT s FROM unnest(successors) s WHERE s <> ALL (coalesce(chosen, '{}'))));
        END IF;
    END IF;
    IF chosen IS NULL THEN
        answer := CASE WHEN refused OR NOT exhausted OR EXISTS (
                           SELECT 1 FROM unnest(the_handlers) AS h (name), LATERAL (
                               SELECT 1 FROM {schema}.revisions p
                               WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL LIMIT 1) c)
                       THEN 'contended' ELSE 'empty' END;
        RETURN NEXT;
    END IF;
END $$;
