-- token_of: who has a token, which was used now (written at most once a minute). Parameters: digest bytea. Locks: its row, where it is written.
-- Zero rows: nobody, or no longer.
WITH used AS (
    UPDATE {schema}.api_tokens SET used_at = clock_timestamp()
    WHERE digest = %(digest)s AND coalesce(used_at < clock_timestamp() - interval '1 minute', true)
)
SELECT name, role, scopes FROM {schema}.api_tokens
WHERE digest = %(digest)s AND revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)
