-- What all processes have counted, together: it outlives each of them. A row is written every few seconds by each process that counts, so
-- there is room on its page; no row is ever deleted, because a counter that is scraped must not fall.
CREATE TABLE {schema}.tallies (
    name    text COLLATE "C"  NOT NULL,
    handler text COLLATE "C"  NOT NULL DEFAULT '',
    kind    text COLLATE "C"  NOT NULL DEFAULT '',
    bucket  double precision  NOT NULL DEFAULT 'Infinity',
    value   double precision  NOT NULL DEFAULT 0,
    PRIMARY KEY (name, handler, kind, bucket)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.0);
