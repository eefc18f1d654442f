-- stop_host: ask the managers of a host to stop, through their keepers; recorded. Parameters: host, how ('graceful', 'quick'), who text.
-- Locks: the rows of its living workers, in order. A row for each manager: its id. None: no living worker of that host is known.
WITH asked AS (
    UPDATE {schema}.workers w SET stop_requested = %(how)s
    WHERE w.id = ANY (ARRAY(
        SELECT k.id FROM {schema}.workers k WHERE k.host = %(host)s AND k.is_active AND k.worker_pid <> 0 ORDER BY k.id FOR NO KEY UPDATE))
    RETURNING w.manager_id
), told AS (
    INSERT INTO {schema}.control_events (control, action, actor, target)
    SELECT 'host', CASE %(how)s WHEN 'quick' THEN 'stop_quick' ELSE 'stop' END, %(who)s, %(host)s WHERE EXISTS (SELECT FROM asked)
)
SELECT DISTINCT a.manager_id FROM asked a ORDER BY 1
