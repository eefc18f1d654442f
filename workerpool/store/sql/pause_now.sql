-- pause_now: take away pauses and tokens whose time is over, and tell what is in force. No parameters.
-- Locks: the pause, if one is over; tokens that are over, skipping what is being renewed.
-- One row: how many pauses were over, the version, whether the pool is paused as a whole, and how many tokens were over.
SELECT l.lifted, s.version, s.paused, l.swept
FROM (SELECT {schema}.lift_pauses() AS lifted, {schema}.sweep_tokens() AS swept OFFSET 0) l, {schema}.pause_state s
