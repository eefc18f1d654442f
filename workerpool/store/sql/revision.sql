-- revision: everything of one revision. Parameters: id bigint. No locks. Zero rows: there is none.
SELECT id, item_key::text, handler::text, status::text, payload, priority, run_at, parked::text, attempt::integer, max_attempts::integer,
       crash_count::integer, worker_id, lease_expires_at, fence, cancel_requested_at, timeout_seconds::double precision AS timeout_seconds,
       progress_percentage::double precision AS progress_percentage, current_step, total_steps::integer, result, error_kind::text,
       error_message, dedupe_key, metadata, revision_number::integer, created_at, started_at, completed_at, updated_at,
       extract(epoch FROM actual_duration)::double precision AS actual_duration
FROM {schema}.revisions WHERE id = %(id)s
