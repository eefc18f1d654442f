-- edit_agent: change what is given of an agent. Parameters: name text, changes JSON text (an object of columns; null takes one away; of
-- model_parameters those that it has are changed, null takes one away). Locks: its row, its provider's. Zero rows: there is none of that name.
UPDATE {schema}.agents a
SET (role, backstory, instructions, provider, model, model_parameters, tools) =
    (SELECT n.role, n.backstory, n.instructions, n.provider, n.model,
            CASE jsonb_typeof(c.given -> 'model_parameters')
                WHEN 'object' THEN jsonb_strip_nulls(a.model_parameters || (c.given -> 'model_parameters'))
                WHEN 'null' THEN '{}'::jsonb
                ELSE a.model_parameters END,
            n.tools
     FROM (SELECT %(changes)s::jsonb AS given) c, jsonb_populate_record(a, c.given) n)
WHERE a.name = %(name)s
RETURNING a.name, a.role, a.backstory, a.instructions, a.provider, a.model, a.model_parameters, a.tools, a.created_at
