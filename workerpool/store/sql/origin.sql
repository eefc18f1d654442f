-- origin: which server this is: the identifier of its cluster, and the timeline that it writes. No parameters. No locks.
-- One row; the timeline is null in recovery, where nothing is written. Any role may ask; a service that is not quite PostgreSQL may refuse.
-- (The name of the file that is written tells it from the moment of the promotion; the control file does so after the next checkpoint.)
SELECT c.system_identifier AS system,
       CASE WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END AS timeline
FROM pg_control_system() c
