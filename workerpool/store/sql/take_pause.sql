-- take_pause: keep others from changing the pause to the end of this transaction, then say its version. No parameters.
-- Locks: the pause, exclusive (waits for running claims, at most lock_timeout). Two statements would do as well: the second sees what the first waited for.
SELECT pg_advisory_xact_lock({schema}.pause_lock())
