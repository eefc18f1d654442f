-- poll: how far revisions are. Parameters: ids bigint[]. No locks. Rows: those that are there, by id.
SELECT id, item_key::text, handler::text, status::text, attempt::integer, worker_id, progress_percentage::double precision AS percent,
       current_step AS step, total_steps::integer, error_kind::text, error_message, revision_number::integer, started_at, completed_at
FROM {schema}.revisions WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id
