-- agent_brief: an agent with its provider, and what earlier attempts of a revision spent on it, as their logs say.
-- Parameters: agent text, id bigint (of the revision), attempt integer. No locks. Zero rows: there is no such agent.
SELECT a.name, a.role, a.backstory, a.instructions, a.model, a.model_parameters::text, a.tools,
       p.name AS provider, p.type, p.base_url, p.default_model, p.key_variable, p.key_file,
       s.input_tokens, s.output_tokens, s.requests, s.seconds
FROM {schema}.agents a
LEFT JOIN {schema}.llm_providers p ON p.name = a.provider
CROSS JOIN (
    SELECT coalesce(sum((data -> 'spent' ->> 'inputTokens')::bigint), 0)::bigint AS input_tokens,
           coalesce(sum((data -> 'spent' ->> 'outputTokens')::bigint), 0)::bigint AS output_tokens,
           coalesce(sum((data -> 'spent' ->> 'requestCount')::bigint), 0)::bigint AS requests,
           coalesce(sum((data -> 'spent' ->> 'executionTime')::float8), 0)::float8 AS seconds
    FROM {schema}.execution_log
    WHERE revision_id = %(id)s::bigint AND attempt < %(attempt)s::integer AND data -> 'spent' ->> 'agent' = %(agent)s::text) s
WHERE a.name = %(agent)s::text
