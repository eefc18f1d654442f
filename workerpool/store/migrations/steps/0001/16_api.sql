-- What programs may do over HTTP, and what they asked for already.

-- A token is known by its digest alone; one that was revoked stays, so that its name in old events can be explained.
CREATE TABLE {schema}.api_tokens (
    digest     bytea PRIMARY KEY,
    name       text        NOT NULL
               CONSTRAINT token_name_has_1_to_100_letters_digits_and_dashes CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    role       text        NOT NULL
               CONSTRAINT role_is_viewer_operator_worker_or_source CHECK (role IN ('viewer', 'operator', 'worker', 'source')),
    scopes     text[],     -- of a worker: the handlers that it may claim; of a source: its name; null: any
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text        NOT NULL,
    expires_at timestamptz,
    used_at    timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX api_tokens_name ON {schema}.api_tokens (name) WHERE revoked_at IS NULL;

-- A request that must count once, however often it arrives: by whom, for what, its key, what it asked (digest), what came of it.
CREATE TABLE {schema}.receipts (
    holder       text        NOT NULL,
    purpose      text        NOT NULL CHECK (purpose IN ('enqueue', 'claim', 'settle')),
    key          text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    digest       bytea,
    revision_ids bigint[]    NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (holder, purpose, key)
);
CREATE INDEX receipts_age ON {schema}.receipts (created_at);
CREATE INDEX webhook_deliveries_age ON {schema}.webhook_deliveries (received_at);
