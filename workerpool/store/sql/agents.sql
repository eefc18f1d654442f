-- agents: all, or one, or those of a provider. Parameters: name, provider text (null: any). No locks. Rows by name.
SELECT a.name, a.role, a.backstory, a.instructions, a.provider, a.model, a.model_parameters, a.tools, a.created_at
FROM {schema}.agents a
WHERE (%(name)s::text IS NULL OR a.name = %(name)s::text) AND (%(provider)s::text IS NULL OR a.provider = %(provider)s::text)
ORDER BY a.name
