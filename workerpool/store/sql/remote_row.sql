-- remote_row: a revision as a worker that speaks HTTP may know it. Parameters: id bigint. No locks. Zero rows: there is none.
SELECT id, item_key::text, handler::text, status::text, worker_id, claim_token, attempt::integer, max_attempts::integer, crash_count::integer,
       cancel_requested_at IS NOT NULL AS cancelling, lease_expires_at
FROM {schema}.revisions WHERE id = %(id)s
