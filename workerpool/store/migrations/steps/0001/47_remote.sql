-- remote_claim: claim one revision for a worker that speaks HTTP, once for each request, however often it arrives.
-- Arguments: whose request, its key, then as of turn: worker, token, handlers, lease.
-- Locks: the receipt first (waits for the same request, if it is under way), then those of turn, which wait for nobody.
-- Answers one row: 'claimed' with the claim; or as turn ('empty', 'contended', 'paused'), and then the request may be made again; or 'used': this
-- request had claimed what has ended, or was taken back.
CREATE FUNCTION {schema}.remote_claim(
    the_holder text, request text, the_worker text, the_token uuid, the_handlers text[], lease_for interval
) RETURNS TABLE (
    answer text, id bigint, item_key text, handler text, payload text, attempt integer, max_attempts integer,
    crash_count integer, timeout_seconds double precision, fence bigint, metadata text, claim_token uuid, lease_expires_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    claimed bigint;
BEGIN
    INSERT INTO {schema}.receipts (holder, purpose, key) VALUES (the_holder, 'claim', request) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        SELECT t.answer, t.id INTO answer, claimed
        FROM {schema}.turn('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', the_worker, the_token, the_handlers,
                           array_fill(NULL::integer, ARRAY[cardinality(the_handlers)]), 1, 1, lease_for) t
        WHERE t.answer <> 'next' LIMIT 1;
        IF answer <> 'claimed' THEN
            DELETE FROM {schema}.receipts r WHERE r.holder = the_holder AND r.purpose = 'claim' AND r.key = request;
            RETURN NEXT;
            RETURN;
        END IF;
        UPDATE {schema}.receipts r SET revision_ids = ARRAY[claimed]
        WHERE r.holder = the_holder AND r.purpose = 'claim' AND r.key = request;
    ELSE
        SELECT r.revision_ids[1] INTO claimed FROM {schema}.receipts r
        WHERE r.holder = the_holder AND r.purpose = 'claim' AND r.key = request;
    END IF;
    RETURN QUERY
        SELECT 'claimed'::text, r.id, r.item_key::text, r.handler::text, {schema}.payload_to_send(r.payload), r.attempt::integer,
               r.max_attempts::integer, r.crash_count::integer, r.timeout_seconds::double precision, r.fence, r.metadata::text,
               r.claim_token, r.lease_expires_at
        FROM {schema}.revisions r
        WHERE r.id = claimed AND r.status = 'processing' AND r.worker_id = the_worker;
    IF NOT FOUND THEN
        answer := 'used';
        RETURN NEXT;
    END IF;
END $$;

-- remote_seen: a worker that speaks HTTP says that it lives, what it can do, and how it is. It is told what is in force, and has seen it.
-- (Nothing waits in it, so what it was told it obeys: it claims over HTTP alone, which a pause refuses.)
CREATE FUNCTION {schema}.remote_seen(the_worker text, the_handlers text[], the_state text, revision bigint, is_done boolean)
RETURNS TABLE (paused boolean, mode text, reason text, version bigint, updated_at timestamptz, pauses jsonb) LANGUAGE sql AS $$
    WITH in_force AS MATERIALIZED (
        SELECT s.paused, s.mode, s.reason, s.version, s.updated_at,
               coalesce((SELECT jsonb_agg(jsonb_build_array(p.scope, p.mode, p.reason) ORDER BY p.id) FROM {schema}.pauses p), '[]') AS pauses
        FROM {schema}.pause_state s
    ), written AS (
        INSERT INTO {schema}.workers AS w (id, manager_id, host, slot, generation, worker_pid, handlers, state, pause_version,
                                           current_revision_id, processed_count)
        SELECT the_worker, split_part(the_worker, '/', 1) || '/' || split_part(the_worker, '/', 2), split_part(the_worker, '/', 1),
               split_part(split_part(the_worker, '/', 3), '.', 1), 1, 0, coalesce(the_handlers, '{}'), the_state, f.version, revision,
               is_done::integer
        FROM in_force f
        ON CONFLICT (id) DO UPDATE SET
            handlers = coalesce(the_handlers, w.handlers), state = excluded.state, pause_version = excluded.pause_version,
            current_revision_id = revision, processed_count = w.processed_count + is_done::integer, last_heartbeat = clock_timestamp())
    SELECT f.* FROM in_force f
$$;
