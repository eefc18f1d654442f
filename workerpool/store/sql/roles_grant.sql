-- roles_grant: what the runtime and the read-only role of a schema may do, said anew after each migration.
-- Names, not parameters: {schema}, {owner}, {runtime}, {readonly}. Whoever runs it owns the schema. Locks: none on rows. No rows.
GRANT USAGE ON SCHEMA {schema} TO {runtime}, {readonly};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {runtime};
REVOKE INSERT, UPDATE, DELETE ON {schema}.alembic_version FROM {runtime};
REVOKE UPDATE, DELETE ON {schema}.control_events FROM {runtime};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {runtime};
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {runtime};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {readonly};
REVOKE SELECT ON {schema}.api_tokens, {schema}.receipts FROM {readonly};
GRANT SELECT (name, role, scopes, created_at, created_by, expires_at, used_at, revoked_at) ON {schema}.api_tokens TO {readonly};
GRANT SELECT (holder, purpose, revision_ids, created_at) ON {schema}.receipts TO {readonly}
