-- system: what is in force, as every answer to a worker says it. No parameters, no locks. One row.
SELECT paused, mode, reason, actor, version, requested_at, updated_at FROM {schema}.pause_state
