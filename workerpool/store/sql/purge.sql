-- purge: delete everything of an item: revisions, logs, its original. Parameters: item, who text. Locks: the item.
-- One row: how many revisions there were; -1, and nothing was done: one is processing.
SELECT {schema}.purge(%(item)s::text, %(who)s::text) AS deleted
