-- hosts: the hosts with living workers that a keeper keeps. Parameters: silence interval. No locks.
SELECT DISTINCT w.host FROM {schema}.workers w
WHERE w.is_active AND w.worker_pid <> 0 AND w.last_heartbeat > clock_timestamp() - %(silence)s::interval ORDER BY 1
