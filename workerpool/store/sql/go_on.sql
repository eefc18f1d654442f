-- go_on: a worker leaves its hold, written before it runs on (R15). Parameters: worker, handler text. Locks: the pause (try), its row.
-- One row; false: something quiesces it still, or is about to.
SELECT {schema}.go_on(%(worker)s::text, %(handler)s::text)
