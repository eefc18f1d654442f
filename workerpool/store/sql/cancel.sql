-- cancel: end what has not started, ask what runs to stop.
-- Parameters: ids bigint[] (at most 128), why, who text. Locks: items by hash, then rows.
-- A row for each id: 'cancelled', 'asked', 'ended' (it was over, status says how) or 'missing'. Never fewer.
SELECT id, answer, status FROM {schema}.cancel(%(ids)s::bigint[], %(why)s::text, %(who)s::text)
