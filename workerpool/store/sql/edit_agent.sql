-- edit_agent: change what is given of an agent. Parameters: name text, changes JSON text (an object of columns; null takes one away).
-- Locks: its row, its provider's. Zero rows: there is none of that name.
UPDATE {schema}.agents a
SET (role, backstory, instructions, provider, model, model_parameters, tools) =
    (SELECT n.role, n.backstory, n.instructions, n.provider, n.model, n.model_parameters, n.tools
     FROM jsonb_populate_record(a, %(changes)s::jsonb) n)
WHERE a.name = %(name)s
RETURNING a.name, a.role, a.backstory, a.instructions, a.provider, a.model, a.model_parameters, a.tools, a.created_at
