-- The tables of the service, in a schema of their own beside the pool's. Run at every start of the service, under a
-- lock: what is there already stays as it is.
--
-- The pool remembers how an edit was performed and forgets it after a while (WORKERPOOL_RETENTION); what the service
-- must never forget is here. So a revision's id is kept without a foreign key.

CREATE SCHEMA IF NOT EXISTS page_edits;

CREATE TABLE IF NOT EXISTS page_edits.people (
    name      text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,39}$'),
    full_name text NOT NULL
);

-- A page's address is its slug and never changes; its pointer says which version is shown there.
CREATE TABLE IF NOT EXISTS page_edits.pages (
    slug            text PRIMARY KEY CHECK (slug ~ '^[a-z][a-z0-9-]{0,39}$'),
    owner           text        NOT NULL REFERENCES page_edits.people (name),
    title           text        NOT NULL,
    current_version integer,
    created_at      timestamptz NOT NULL DEFAULT now()
);

-- What somebody asked for: written in the transaction that enqueues its revision, so there is never one without the other.
-- outcome, message and ended_at are written when the revision has ended; until then the revision itself tells the state.
CREATE TABLE IF NOT EXISTS page_edits.edits (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug       text        NOT NULL REFERENCES page_edits.pages (slug),
    kind       text        NOT NULL DEFAULT 'edit' CHECK (kind IN ('edit', 'revert')),
    request    text        NOT NULL,
    requester  text        REFERENCES page_edits.people (name),
    source     text        NOT NULL DEFAULT 'form' CHECK (source IN ('form', 'webhook', 'pool')),
    revision   bigint      NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    outcome    text        CHECK (outcome IN ('completed', 'failed', 'cancelled')),
    message    text,
    ended_at   timestamptz,
    CHECK ((outcome IS NULL) = (ended_at IS NULL))
);
CREATE INDEX IF NOT EXISTS edits_of_page ON page_edits.edits (slug, id);

-- Every content that a page ever had: 0 is the original, and then one for each edit and revert that was deployed.
CREATE TABLE IF NOT EXISTS page_edits.versions (
    slug       text        NOT NULL REFERENCES page_edits.pages (slug),
    number     integer     NOT NULL CHECK (number >= 0),
    html       text        NOT NULL,
    request    text        NOT NULL,
    author     text        REFERENCES page_edits.people (name),
    revision   bigint      UNIQUE,
    repaired   boolean     NOT NULL DEFAULT false,
    tokens     integer     NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (slug, number),
    CHECK ((number = 0) = (revision IS NULL))
);

-- What people are told: one notice for each revision that ended.
CREATE TABLE IF NOT EXISTS page_edits.notices (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person     text        NOT NULL REFERENCES page_edits.people (name),
    slug       text        NOT NULL,
    outcome    text        NOT NULL CHECK (outcome IN ('completed', 'failed', 'cancelled')),
    text       text        NOT NULL,
    revision   bigint      NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    read_at    timestamptz
);
CREATE INDEX IF NOT EXISTS notices_of_person ON page_edits.notices (person, id);

-- What counts against the limits: the edits that were accepted within the last day. Reverts are free.
CREATE OR REPLACE VIEW page_edits.counted AS
SELECT slug, requester, created_at, extract(epoch FROM clock_timestamp() - created_at)::double precision AS age
FROM page_edits.edits
WHERE kind = 'edit' AND created_at > clock_timestamp() - interval '1 day';

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'pages_pointer' AND conrelid = 'page_edits.pages'::regclass) THEN
        ALTER TABLE page_edits.pages ADD CONSTRAINT pages_pointer
            FOREIGN KEY (slug, current_version) REFERENCES page_edits.versions (slug, number);
    END IF;
END $$;
