-- pauses: who asked for pauses. No parameters, no locks. Rows by number.
SELECT id, scope, mode, reason, actor, holder, requested_at, until,
       extract(epoch FROM clock_timestamp() - requested_at)::double precision AS age
FROM {schema}.pauses ORDER BY id
