-- top_running: what runs, with how far it is, for who watches in a terminal. Parameters: how_many integer. No locks.
-- (Which revision a worker has is known from the claim: its own row says it only with its next heartbeat.)
SELECT r.id, r.item_key::text, r.worker_id, r.progress_percentage::double precision AS percent, r.current_step AS step,
       r.cancel_requested_at IS NOT NULL AS cancelling,
       extract(epoch FROM clock_timestamp() - r.started_at)::double precision AS running_for
FROM {schema}.revisions r WHERE r.status = 'processing' ORDER BY r.item_key LIMIT %(how_many)s
