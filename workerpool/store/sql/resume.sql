-- resume: take pauses away (R14). Parameters: scope, holder (null: of each, of all), reason, who text. Locks: the pause.
-- One row: how many there were.
SELECT {schema}.resume(%(scope)s::text, %(holder)s::text, %(reason)s::text, %(who)s::text) AS lifted
