-- remove_provider: forget a provider. Parameters: name text. Locks: its row. Zero rows: there is none of that name, or agents use it.
DELETE FROM {schema}.llm_providers p
WHERE p.name = %(name)s AND NOT EXISTS (SELECT 1 FROM {schema}.agents a WHERE a.provider = p.name)
RETURNING p.name
