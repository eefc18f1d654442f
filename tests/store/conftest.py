"""What the tests of the queue share: one database for each module, emptied between tests.

Making and dropping a database costs a third of a second; a test that leaves more behind than rows takes ``server`` and
``template`` and makes its own.
"""

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Databases

EMPTY = """
DO $$ BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(format('workerpool.%I', tablename), ', ') || ' RESTART IDENTITY CASCADE'
             FROM pg_tables WHERE schemaname = 'workerpool'
             AND tablename NOT IN ('alembic_version', 'control_events', 'pause_state'));
END $$
"""


@pytest.fixture(scope="module")
def module_database(server: Databases, template: str) -> Iterator[str]:
    """The URL of a migrated database of this module's own."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name, template)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


@pytest.fixture
def database(module_database: str) -> str:
    """The URL of a migrated database with no rows."""
    with psycopg.connect(module_database, autocommit=True) as connection:
        connection.execute(EMPTY)
    return module_database
