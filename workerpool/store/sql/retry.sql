-- retry: let what failed or was cancelled run again in its place, or with *append* a copy of it at the end of its item.
-- Parameters: ids bigint[] (at most 128), who text, append boolean. Locks: items by hash, then rows.
-- A row for each id: 'retried', 'appended' (new_id), 'has_successors', 'completed', 'not_ended' or 'missing'. Never fewer.
SELECT id, answer, new_id FROM {schema}.retry(%(ids)s::bigint[], %(who)s::text, %(append)s::boolean)
