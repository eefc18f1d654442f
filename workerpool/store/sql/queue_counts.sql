-- queue_counts: how many revisions there are by status and handler, counted one by one. No parameters, no locks.
SELECT status::text, handler::text, revisions, oldest FROM {schema}.queue_status
