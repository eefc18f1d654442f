-- due_schedules: the schedules that are due or new, and the time of the database. Parameters: how_many integer. No locks.
-- Rows; the first is always there and has no name: the seconds until the next one of the others is due (null: there is none).
SELECT NULL AS name, NULL AS cron, NULL AS timezone, NULL AS missed, NULL::timestamptz AS next_run, clock_timestamp() AS now,
       extract(epoch FROM min(s.next_run) FILTER (WHERE s.next_run > clock_timestamp()) - clock_timestamp())::double precision AS due_in
FROM {schema}.schedules s
UNION ALL
(SELECT s.name, s.cron, s.timezone, s.missed, s.next_run, clock_timestamp(), NULL
 FROM {schema}.schedules s WHERE s.next_run IS NULL OR s.next_run <= clock_timestamp() ORDER BY s.next_run NULLS FIRST LIMIT %(how_many)s)
