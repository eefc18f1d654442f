-- patience: how long statements of this connection wait for locks, from now on.
-- Parameters: seconds double precision. No locks. One row. (A pooler that forgets it gives back the longer wait of every connection.)
SELECT set_config('lock_timeout', (%(seconds)s::double precision * 1000)::integer::text, false)
