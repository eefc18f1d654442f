-- pause_now: take away pauses whose time is over, and tell what is in force. No parameters. Locks: the pause, if one is over.
-- One row: how many were over, the version, and whether the pool is paused as a whole.
SELECT l.lifted, s.version, s.paused FROM (SELECT {schema}.lift_pauses() AS lifted OFFSET 0) l, {schema}.pause_state s
