"""Alembic's entry: one transaction for all steps; the version table lives in the schema that it describes."""

from alembic import context

schema = context.config.attributes["schema"]
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", version_table_schema=schema, literal_binds=True)
    context.execute('CREATE SCHEMA IF NOT EXISTS "' + schema.replace('"', '""') + '"')
    with context.begin_transaction():
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()
