-- lift_pauses: take away the pauses whose time is over. No parameters. Locks: the pause, if one is over. One row: how many there were.
SELECT {schema}.lift_pauses() AS lifted
