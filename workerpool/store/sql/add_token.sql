-- add_token: let somebody in. Parameters: digest bytea, name, role text, scopes text[] (null: any), who text, valid interval (null: for ever).
-- Locks: an entry of the name. Zero rows: the name is taken.
INSERT INTO {schema}.api_tokens (digest, name, role, scopes, created_by, expires_at)
VALUES (%(digest)s, %(name)s, %(role)s, %(scopes)s::text[], %(who)s, clock_timestamp() + %(valid)s::interval)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING name, role, scopes, created_at, expires_at
