-- occupied: what is in the way of a restore. Parameters: silence interval (a worker not seen for longer counts as gone). No locks. One row.
SELECT (SELECT count(*) FROM {schema}.revisions) AS revisions, (SELECT count(*) FROM {schema}.items) AS items,
       (SELECT count(*) FROM {schema}.schedules) AS schedules,
       (SELECT count(*) FROM {schema}.workers WHERE is_active AND last_heartbeat > clock_timestamp() - %(silence)s::interval) AS workers
