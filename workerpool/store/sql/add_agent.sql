-- add_agent: keep an agent. Parameters: name, role, backstory, instructions, provider, model text, model_parameters JSON text, tools text[].
-- Locks: its row, its provider's. Zero rows: there is one of that name already.
INSERT INTO {schema}.agents (name, role, backstory, instructions, provider, model, model_parameters, tools)
VALUES (%(name)s, %(role)s, %(backstory)s, %(instructions)s, %(provider)s, %(model)s, %(model_parameters)s::jsonb, %(tools)s::text[])
ON CONFLICT (name) DO NOTHING
RETURNING name, role, backstory, instructions, provider, model, model_parameters, tools, created_at
