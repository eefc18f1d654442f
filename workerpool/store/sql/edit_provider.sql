-- edit_provider: change what is given of a provider. Parameters: name text, changes JSON text (an object of columns; null takes one away).
-- Locks: its row. Zero rows: there is none of that name.
UPDATE {schema}.llm_providers p
SET (type, base_url, default_model, key_variable, key_file) =
    (SELECT n.type, n.base_url, n.default_model, n.key_variable, n.key_file
     FROM jsonb_populate_record(p, %(changes)s::jsonb) n)
WHERE p.name = %(name)s
RETURNING p.name, p.type, p.base_url, p.default_model, p.key_variable, p.key_file, p.created_at
