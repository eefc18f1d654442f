-- The tables of the contract. {schema} is replaced by the quoted name of the schema (WORKERPOOL_SCHEMA).

-- Rules on one column are domains over text and numbers: PostgreSQL keeps their checks parsed for a session, while it parses the checks
-- of a table anew for each statement that writes it (measured: 0.3 ms for eleven of them, more than the write itself).
-- The name of a rule is what a client reads when it breaks it.
-- Keys are compared as bytes: several times as quick as by a language's rules, and an upgrade of those cannot break an index.
CREATE DOMAIN {schema}.item_name AS text COLLATE "C"
    CONSTRAINT item_key_has_1_to_512_characters CHECK (length(VALUE) BETWEEN 1 AND 512);
CREATE DOMAIN {schema}.handler_name AS text COLLATE "C"
    CONSTRAINT handler_has_1_to_200_characters CHECK (length(VALUE) BETWEEN 1 AND 200);
CREATE DOMAIN {schema}.revision_status AS text
    CONSTRAINT status_is_draft_scheduled_pending_processing_or_an_end
    CHECK (VALUE IN ('draft', 'scheduled', 'pending', 'processing', 'completed', 'failed', 'cancelled'));
CREATE DOMAIN {schema}.parking AS text
    CONSTRAINT parked_is_null_behind_or_due CHECK (VALUE IN ('behind', 'due'));
CREATE DOMAIN {schema}.failure_kind AS text
    CONSTRAINT error_kind_is_error_timeout_crash_poison_invalid_or_cancelled
    CHECK (VALUE IN ('error', 'timeout', 'crash', 'poison', 'invalid_payload', 'cancelled'));
CREATE DOMAIN {schema}.whole_number AS integer CONSTRAINT number_is_not_negative CHECK (VALUE >= 0);
CREATE DOMAIN {schema}.positive_number AS integer CONSTRAINT number_is_1_or_more CHECK (VALUE >= 1);
CREATE DOMAIN {schema}.seconds AS numeric CONSTRAINT seconds_are_more_than_0 CHECK (VALUE > 0);
CREATE DOMAIN {schema}.percentage AS numeric(5, 2) CONSTRAINT percentage_is_0_to_100 CHECK (VALUE BETWEEN 0 AND 100);

CREATE TABLE {schema}.revisions (
    id                  bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    item_key            {schema}.item_name       NOT NULL,
    handler             {schema}.handler_name    NOT NULL DEFAULT 'default',
    payload             jsonb                    NOT NULL DEFAULT '{}',
    status              {schema}.revision_status NOT NULL DEFAULT 'pending',
    priority            smallint                 NOT NULL DEFAULT 0,
    run_at              timestamptz              NOT NULL DEFAULT now(),
    parked              {schema}.parking,
    attempt             {schema}.whole_number    NOT NULL DEFAULT 0,
    max_attempts        {schema}.positive_number,
    crash_count         {schema}.whole_number    NOT NULL DEFAULT 0,
    worker_id           text,
    claim_token         uuid,
    lease_expires_at    timestamptz,
    fence               bigint,
    cancel_requested_at timestamptz,
    timeout_seconds     {schema}.seconds,
    progress_percentage {schema}.percentage,
    current_step        text,
    total_steps         {schema}.positive_number,
    result              jsonb,
    error_message       text,
    error_kind          {schema}.failure_kind,
    dedupe_key          text,
    metadata            jsonb,
    revision_number     {schema}.positive_number,
    created_at          timestamptz              NOT NULL DEFAULT now(),
    started_at          timestamptz,
    completed_at        timestamptz,
    updated_at          timestamptz              NOT NULL DEFAULT now(),
    actual_duration     interval GENERATED ALWAYS AS (completed_at - started_at) STORED,
    CONSTRAINT revisions_pkey PRIMARY KEY (id),
    -- Who processes holds a lease and a token; who waits holds neither; who has ended has an end, and a number if it succeeded.
    CONSTRAINT revisions_status_is_whole CHECK (
        CASE status
            WHEN 'processing' THEN claim_token IS NOT NULL AND lease_expires_at IS NOT NULL AND worker_id IS NOT NULL
                                   AND parked IS NULL AND completed_at IS NULL AND revision_number IS NULL
            WHEN 'completed' THEN completed_at IS NOT NULL AND revision_number IS NOT NULL
                                  AND parked IS NULL AND lease_expires_at IS NULL
            WHEN 'pending' THEN claim_token IS NULL AND lease_expires_at IS NULL AND completed_at IS NULL AND revision_number IS NULL
            ELSE parked IS NULL AND lease_expires_at IS NULL AND revision_number IS NULL
                 AND (completed_at IS NOT NULL) = (status IN ('failed', 'cancelled'))
        END)
) WITH (
    -- A queue's rows are written three times in their life and then rest: room on the page, early vacuum.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

-- What a claim looks at. The sign makes "higher priority first, then lower id" one ascending order.
CREATE INDEX revisions_candidates ON {schema}.revisions (handler, (-(priority::integer)), id)
    WHERE status = 'pending' AND parked IS NULL;
-- The waiting line of each item; its first entry is the head. What runs is not in it: a claim writes one entry less.
CREATE INDEX revisions_line ON {schema}.revisions (item_key, id)
    WHERE status = 'pending';
-- One executor for an item: the constraint behind the claim.
CREATE UNIQUE INDEX revisions_one_processing ON {schema}.revisions (item_key)
    WHERE status = 'processing';
CREATE INDEX revisions_due ON {schema}.revisions (run_at)
    WHERE status = 'scheduled' OR parked = 'due';
CREATE UNIQUE INDEX revisions_history ON {schema}.revisions (item_key, revision_number)
    WHERE revision_number IS NOT NULL;
CREATE UNIQUE INDEX revisions_dedupe ON {schema}.revisions (item_key, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('draft', 'scheduled', 'pending', 'processing');

-- What somebody wants cancelled and has not ended; nearly always empty.
CREATE INDEX revisions_cancels ON {schema}.revisions (id)
    WHERE cancel_requested_at IS NOT NULL AND completed_at IS NULL;

CREATE SEQUENCE {schema}.fence AS bigint;

CREATE TABLE {schema}.items (
    item_key    {schema}.item_name PRIMARY KEY,
    original    jsonb,
    halted_at   timestamptz,
    halt_reason text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CHECK ((halted_at IS NULL) = (halt_reason IS NULL))
);
-- Nearly always empty, and asked for each item that a claim looks at.
CREATE INDEX items_halted ON {schema}.items (item_key) WHERE halted_at IS NOT NULL;

CREATE TABLE {schema}.execution_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision_id bigint      NOT NULL REFERENCES {schema}.revisions (id) ON DELETE CASCADE,
    attempt     integer     NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    level       text        NOT NULL DEFAULT 'info' CHECK (level IN ('debug', 'info', 'warning', 'error')),
    message     text        NOT NULL,
    data        jsonb
);
CREATE INDEX execution_log_revision ON {schema}.execution_log (revision_id, id);

CREATE TABLE {schema}.workers (
    id                  text PRIMARY KEY,
    manager_id          text        NOT NULL,
    host                text        NOT NULL,
    slot                text        NOT NULL,
    generation          integer     NOT NULL,
    worker_pid          integer     NOT NULL,
    handlers            text[]      NOT NULL DEFAULT '{}',
    halting             text[]      NOT NULL DEFAULT '{}',
    limits              jsonb       NOT NULL DEFAULT '{}',
    state               text        NOT NULL DEFAULT 'starting'
                        CHECK (state IN ('starting', 'idle', 'busy', 'paused', 'stopping', 'gone')),
    is_active           boolean GENERATED ALWAYS AS (state <> 'gone') STORED,
    current_revision_id bigint,
    pause_version       bigint      NOT NULL DEFAULT 0,
    last_heartbeat      timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    processed_count     bigint      NOT NULL DEFAULT 0,
    restart_count       integer     NOT NULL DEFAULT 0,
    rss_bytes           bigint
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.0);

CREATE TABLE {schema}.pauses (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope        text        NOT NULL DEFAULT 'all'
                 CONSTRAINT scope_is_all_or_handler_or_host CHECK (scope = 'all' OR scope ~ '^(handler|host):.+$'),
    mode         text        NOT NULL CONSTRAINT mode_is_drain_or_quiesce CHECK (mode IN ('drain', 'quiesce')),
    reason       text        NOT NULL CONSTRAINT reason_is_not_empty CHECK (length(btrim(reason)) > 0),
    actor        text        NOT NULL CONSTRAINT actor_is_not_empty CHECK (length(actor) > 0),
    holder       text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until        timestamptz,
    UNIQUE (scope, holder)
);

CREATE TABLE {schema}.pause_state (
    id           smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    paused       boolean     NOT NULL DEFAULT false,
    mode         text CHECK (mode IN ('drain', 'quiesce')),
    reason       text,
    actor        text,
    requested_at timestamptz,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    version      bigint      NOT NULL DEFAULT 0,
    scopes       text[]      NOT NULL DEFAULT '{}',
    CHECK (NOT paused OR (mode IS NOT NULL AND reason IS NOT NULL AND actor IS NOT NULL))
);
INSERT INTO {schema}.pause_state DEFAULT VALUES;

CREATE TABLE {schema}.control_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    control    text        NOT NULL,
    action     text        NOT NULL,
    mode       text,
    reason     text,
    actor      text        NOT NULL,
    target     text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE {schema}.work_tokens (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind        text        NOT NULL CHECK (kind IN ('orchestrator', 'background_worker')),
    holder      text        NOT NULL,
    host        text        NOT NULL,
    pid         integer     NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL
);

CREATE TABLE {schema}.continuations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision_id bigint NOT NULL REFERENCES {schema}.revisions (id) ON DELETE CASCADE,
    fires_on    text   NOT NULL DEFAULT 'any' CHECK (fires_on IN ('completed', 'failed', 'cancelled', 'any')),
    item_key    {schema}.item_name NOT NULL,
    handler     {schema}.handler_name NOT NULL DEFAULT 'default',
    payload     jsonb  NOT NULL DEFAULT '{}',
    attempt     integer,
    enqueued_id bigint,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX continuations_revision ON {schema}.continuations (revision_id);

CREATE TABLE {schema}.schedules (
    name       text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 200),
    cron       text                  NOT NULL,
    timezone   text                  NOT NULL DEFAULT 'UTC',
    item_key   {schema}.item_name    NOT NULL,
    handler    {schema}.handler_name NOT NULL DEFAULT 'default',
    payload    jsonb                 NOT NULL DEFAULT '{}',
    priority   smallint              NOT NULL DEFAULT 0,
    missed     text                  NOT NULL DEFAULT 'once' CHECK (missed IN ('skip', 'once', 'all')),
    next_run   timestamptz,
    last_run   timestamptz,
    created_at timestamptz           NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE {schema}.webhook_deliveries (
    source      text        NOT NULL,
    delivery_id text        NOT NULL,
    revision_id bigint REFERENCES {schema}.revisions (id) ON DELETE SET NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, delivery_id)
);
CREATE INDEX webhook_deliveries_revision ON {schema}.webhook_deliveries (revision_id);

-- The type is no CHECK: a newer program on another host may know more of them, and one that this program does not know
-- fails the revision with a sentence.
CREATE TABLE {schema}.llm_providers (
    name          text PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 200),
    type          text NOT NULL,
    base_url      text CHECK (base_url ~ '^https?://'),
    default_model text,
    key_variable  text CHECK (key_variable ~ '^[A-Za-z_][A-Za-z0-9_]*$'),
    key_file      text,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (key_variable IS NULL OR key_file IS NULL)
);

CREATE TABLE {schema}.agents (
    name             text PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 200),
    role             text   NOT NULL,
    backstory        text   NOT NULL DEFAULT '',
    instructions     text   NOT NULL DEFAULT '',
    provider         text   REFERENCES {schema}.llm_providers (name),
    model            text,
    model_parameters jsonb  NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(model_parameters) = 'object'),
    tools            text[] NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
