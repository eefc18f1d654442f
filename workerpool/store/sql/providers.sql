-- providers: where language models are reached, with how many agents each serves. Parameters: name text (null: all). No locks. Rows by name.
SELECT p.name, p.type, p.base_url, p.default_model, p.key_variable, p.key_file, p.created_at,
       (SELECT count(*)::integer FROM {schema}.agents a WHERE a.provider = p.name) AS agents
FROM {schema}.llm_providers p WHERE %(name)s::text IS NULL OR p.name = %(name)s::text ORDER BY p.name
