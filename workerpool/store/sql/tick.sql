-- tick: what a keeper has to know each second, of which most says that there is nothing to do. It only looks: what must be seen by
-- what follows (R12), or takes a lock, is a statement of its own, sent where these facts ask for it.
-- Parameters: handlers text[] and how_many integer of the idle workers; manager text. No locks. One row, in the order of keeper.facts:
--   candidates they would find (up to how_many), seconds until the next row is due (null: none); the pause in force; whether the time of a
--   pause, or of a token, is over; whether somebody wants something cancelled; whether there is a candidate of any handler, a pending
--   revision, one that is processing; seconds until the next schedule is due (null: there is none); how somebody asked this manager to
--   stop (null: nobody did).
-- (Each row is asked for in the order of its index, so that the plan of a moment when there was nothing is right when there is much.
-- EXISTS would drop the order.)
SELECT (SELECT count(*) FROM unnest(%(handlers)s::text[]) AS h (name) CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.revisions p
            WHERE p.handler = h.name AND p.status = 'pending' AND p.parked IS NULL
            ORDER BY -(p.priority::integer), p.id LIMIT %(how_many)s) c
        WHERE 'handler:' || h.name <> ALL (s.scopes)) AS found,
       (SELECT extract(epoch FROM r.run_at - clock_timestamp())::double precision FROM {schema}.revisions r
        WHERE r.status = 'scheduled' OR r.parked = 'due' ORDER BY r.run_at LIMIT 1) AS due_in,
       s.version, s.paused,
       EXISTS (SELECT 1 FROM {schema}.pauses p WHERE p.until <= clock_timestamp()) AS pause_over,
       EXISTS (SELECT 1 FROM {schema}.work_tokens t WHERE t.expires_at <= clock_timestamp()) AS token_over,
       (SELECT true FROM {schema}.revisions r
        WHERE r.cancel_requested_at IS NOT NULL AND r.completed_at IS NULL ORDER BY r.id LIMIT 1) IS NOT NULL AS cancels,
       (SELECT true FROM {schema}.revisions r
        WHERE r.status = 'pending' AND r.parked IS NULL ORDER BY r.handler LIMIT 1) IS NOT NULL AS waiting,
       (SELECT true FROM {schema}.revisions r
        WHERE r.status = 'pending' ORDER BY r.item_key, r.id LIMIT 1) IS NOT NULL AS pending,
       (SELECT true FROM {schema}.revisions r
        WHERE r.status = 'processing' ORDER BY r.item_key LIMIT 1) IS NOT NULL AS processing,
       (SELECT extract(epoch FROM min(coalesce(c.next_run, clock_timestamp())) - clock_timestamp())::double precision
        FROM {schema}.schedules c) AS fires_in,
       (SELECT max(w.stop_asked) FROM {schema}.workers w WHERE w.manager_id = %(manager)s::text AND w.stop_asked IS NOT NULL) AS stop_asked
FROM {schema}.pause_state s
