-- stop_host: ask the managers of a host to stop; their keepers see it with their next tick. A quick stop replaces a graceful one.
-- Parameters: host, mode ('graceful' or 'quick'), reason, who text; silence interval (a worker not seen for longer counts as dead).
-- Locks: the rows of its workers, by id. Rows: the managers that were asked; none: no worker of such a host is alive, and nothing is recorded.
WITH there AS (
    SELECT w.id FROM {schema}.workers w
    WHERE w.host = %(host)s AND w.is_active AND w.worker_pid <> 0 AND w.last_heartbeat > clock_timestamp() - %(silence)s::interval
    ORDER BY w.id FOR NO KEY UPDATE
), asked AS (
    UPDATE {schema}.workers w SET stop_asked = greatest(w.stop_asked, %(mode)s::text)
    WHERE w.id IN (SELECT t.id FROM there t) RETURNING w.manager_id
), recorded AS (
    INSERT INTO {schema}.control_events (control, action, mode, reason, actor, target)
    SELECT 'pool', 'stop', %(mode)s, nullif(%(reason)s, ''), %(who)s, 'host:' || %(host)s::text WHERE EXISTS (SELECT FROM asked)
)
SELECT DISTINCT a.manager_id AS manager FROM asked a ORDER BY 1
