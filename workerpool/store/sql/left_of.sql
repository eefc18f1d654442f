-- left_of: how many workers of some managers are alive. Parameters: managers text[], silence interval. No locks. One row.
SELECT count(*) AS alive FROM {schema}.workers w
WHERE w.manager_id = ANY (%(managers)s::text[]) AND w.is_active AND w.last_heartbeat > clock_timestamp() - %(silence)s::interval
