-- stage: a table of this session for revisions that arrive by COPY, until they are enqueued. No parameters, no locks on others' rows.
-- No rows. Whoever makes it drops it: a transaction may enqueue twice. Its defaults are those of a revision of which nothing more is said.
CREATE TEMPORARY TABLE workerpool_enqueue (
    place integer GENERATED ALWAYS AS IDENTITY, item_key text, handler text DEFAULT 'default', payload jsonb DEFAULT '{}',
    status text DEFAULT 'pending', priority smallint DEFAULT 0, run_at timestamptz DEFAULT now(), dedupe_key text,
    max_attempts integer, timeout_seconds numeric, metadata jsonb) ON COMMIT DROP
