-- activate_token: a right to be active, unless the pool is paused. Parameters: kind, holder, host text, pid integer, lease interval.
-- Locks: the pause, by trying (R12). One row: the token, null where the pool is paused or about to be.
SELECT {schema}.activate_token(%(kind)s::text, %(holder)s::text, %(host)s::text, %(pid)s::integer, %(lease)s::interval) AS id
