-- pause_in_force: whether the pool is paused as a whole, and why. No parameters, no locks. One row.
SELECT s.paused, s.reason FROM {schema}.pause_state s
