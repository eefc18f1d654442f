"""Runs a numbered folder of plain .sql inside the migration that Alembic has opened."""

from alembic import context, op

from workerpool.store.versions import step_sql


def run(version: str, direction: str) -> None:
    """Execute the step's files, or print them where Alembic writes a script."""
    sql = step_sql(version, direction, context.config.attributes["schema"])
    if context.is_offline_mode():
        context.get_context().impl.static_output(sql)
    else:
        # Straight to the driver: the text holds colons and percent signs that are not parameters.
        op.get_bind().connection.dbapi_connection.execute(sql)  # type: ignore[union-attr]
