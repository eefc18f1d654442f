-- The lock of an item: a key of the advisory locks, which live in a space of 64 bits shared with the application.
CREATE FUNCTION {schema}.item_lock(item_key text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN hashtextextended(item_key, 7083491268015);

-- The lock of a handler that has a limit of what runs at once: who holds it counts, and claims no more than there is room for.
CREATE FUNCTION {schema}.handler_lock(handler text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN hashtextextended(handler, 4402197755310);

-- unpark: make these heads candidates again, and wake somebody for them. Only 'behind' is lifted: a back-off stays (R3).
-- The caller holds the locks of their items.
CREATE FUNCTION {schema}.unpark(heads bigint[]) RETURNS integer LANGUAGE plpgsql
AS $$
DECLARE
    lifted integer;
BEGIN
    UPDATE {schema}.revisions r SET parked = NULL WHERE r.id = ANY (heads) AND r.parked = 'behind';
    GET DIAGNOSTICS lifted = ROW_COUNT;
    IF EXISTS (SELECT 1 FROM {schema}.workers WHERE state = 'idle') THEN
        PERFORM pg_notify({channel}, '');
    END IF;
    RETURN lifted;
END $$;

-- lock_items: the locks of these items, in the order of their hashes (R2). Waits, bounded by lock_timeout.
CREATE FUNCTION {schema}.lock_items(item_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(item_keys) > 128 THEN
        RAISE EXCEPTION 'at most 128 items in a transaction, % were named', cardinality(item_keys)
            USING ERRCODE = 'program_limit_exceeded', HINT = 'Locks are a resource of the whole server (R5): use smaller batches.';
    END IF;
    PERFORM pg_advisory_xact_lock(k.key)
    FROM (SELECT DISTINCT {schema}.item_lock(i) AS key FROM unnest(item_keys) AS i ORDER BY 1) k;
END $$;

-- parked_heads: of each item the lowest pending revision, if it is parked behind one that is gone. Their rows are locked then: a
-- foreign transaction may have changed one while this one waited. A halted item has none: the unhalt asks again.
-- (Written so that a plan made for an empty table, which a session keeps, is right for a full one: the key is asked for as a range, else
-- a planner takes the primary key for the order and walks a hot item's past; the row is looked up in a subquery that locks, which is
-- never taken apart, by its id alone.)
CREATE FUNCTION {schema}.parked_heads(item_keys text[]) RETURNS bigint[] LANGUAGE plpgsql
AS $$
BEGIN
    RETURN ARRAY(
        SELECT h.id FROM (SELECT DISTINCT i AS item_key FROM unnest(item_keys) AS i) k CROSS JOIN LATERAL (
            SELECT r.id, r.parked FROM {schema}.revisions r
            WHERE r.item_key >= k.item_key AND r.item_key <= k.item_key AND r.status = 'pending'
            ORDER BY r.item_key, r.id LIMIT 1) n
        CROSS JOIN LATERAL (
            SELECT r.id FROM {schema}.revisions r WHERE r.id = n.id AND r.parked = 'behind' FOR NO KEY UPDATE) h
        WHERE n.parked = 'behind' AND (
            SELECT p.id FROM {schema}.revisions p
            WHERE p.item_key = k.item_key AND p.status = 'processing' LIMIT 1) IS NULL AND (
            SELECT 1 FROM {schema}.items i
            WHERE i.item_key = k.item_key AND i.halted_at IS NOT NULL LIMIT 1) IS NULL);
END $$;
