-- active_counts: how many of each kind are active. No parameters, no locks. A row for each kind.
SELECT kind, active FROM {schema}.active_counts
