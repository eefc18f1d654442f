-- tokens: who is let in; never their secrets. Parameters: all boolean (revoked and expired ones too). No locks.
SELECT name, role, scopes, created_at, created_by, expires_at, used_at, revoked_at,
       revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true) AS is_valid
FROM {schema}.api_tokens
WHERE %(all)s OR (revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true))
ORDER BY revoked_at IS NOT NULL, name, created_at
