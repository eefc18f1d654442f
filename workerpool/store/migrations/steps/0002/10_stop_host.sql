-- A pool can be stopped from another host: the request stands on the rows of its workers, and its keeper carries it out.
-- Additive: programs of version 0001 that are running go on, and know nothing of it.
ALTER TABLE {schema}.workers ADD COLUMN stop_asked text
    CONSTRAINT stop_asked_is_graceful_or_quick CHECK (stop_asked IN ('graceful', 'quick'));
CREATE INDEX workers_stop_asked ON {schema}.workers (manager_id) WHERE stop_asked IS NOT NULL;
COMMENT ON COLUMN {schema}.workers.stop_asked IS 'Somebody asked its manager to stop, graceful or quick; the keeper of its host tells it.';
