-- revoke_token: let somebody in no longer. Parameters: name text. Locks: its row. Zero rows: there is none in force.
UPDATE {schema}.api_tokens SET revoked_at = clock_timestamp() WHERE name = %(name)s AND revoked_at IS NULL RETURNING name, role
