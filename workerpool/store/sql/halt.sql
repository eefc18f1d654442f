-- halt: start nothing of an item until it is unhalted. Parameters: item, reason, who text. Locks: the item.
-- One row; false: it was halted already, and stays so for its first reason.
SELECT {schema}.halt(%(item)s::text, %(reason)s::text, %(who)s::text) AS done
