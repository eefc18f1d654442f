-- stage: a table of this session for revisions that arrive by COPY, until they are enqueued. No parameters, no locks on others' rows.
-- No rows. Whoever makes it drops it: a transaction may enqueue twice.
CREATE TEMPORARY TABLE workerpool_enqueue (
    place integer, item text, handler text, payload jsonb, draft boolean, priority integer, run_at timestamptz, dedupe_key text,
    attempts integer, timeout numeric, metadata jsonb) ON COMMIT DROP
