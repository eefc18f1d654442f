-- unhalt: let an item go on, past what failed. Parameters: item, who text. Locks: the item. One row; false: it was not halted.
SELECT {schema}.unhalt(%(item)s::text, %(who)s::text) AS done
