-- pause_metrics: the figures of the pause, and how safe it is. No parameters, no locks. One row.
SELECT m.paused, m.mode, m.reason, m.actor, m.version, m.scopes, m.paused_seconds, m.queued, m.running, m.stale_running, m.held, m.is_drained
FROM {schema}.pause_metrics m
