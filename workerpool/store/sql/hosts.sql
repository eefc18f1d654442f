-- hosts: where living workers are, those that speak HTTP aside. Parameters: managers text[] (null: all). No locks.
-- A row for each host and manager: host, manager_id, how many workers.
SELECT w.host, w.manager_id, count(*)::integer AS workers FROM {schema}.workers w
WHERE w.is_active AND w.worker_pid <> 0 AND (%(managers)s::text[] IS NULL OR w.manager_id = ANY (%(managers)s))
GROUP BY w.host, w.manager_id ORDER BY w.host, w.manager_id
