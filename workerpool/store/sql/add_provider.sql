-- add_provider: keep where models are reached. Parameters: name, type, base_url, default_model, key_variable, key_file text. Locks: its row.
-- Zero rows: there is one of that name already.
INSERT INTO {schema}.llm_providers (name, type, base_url, default_model, key_variable, key_file)
VALUES (%(name)s, %(type)s, %(base_url)s, %(default_model)s, %(key_variable)s, %(key_file)s)
ON CONFLICT (name) DO NOTHING
RETURNING name, type, base_url, default_model, key_variable, key_file, created_at
