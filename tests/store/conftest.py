"""What the tests of the queue share: one database for each module, emptied between tests.

Making and dropping a database costs a third of a second; a test that leaves more behind than rows takes ``server`` and
``template`` and makes its own.
"""

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Databases

# Deleting a few rows is ten times as quick as truncating tables with all their indexes.
EMPTY = """
DELETE FROM workerpool.execution_log; DELETE FROM workerpool.revisions; DELETE FROM workerpool.items;
DELETE FROM workerpool.workers; DELETE FROM workerpool.pauses; ALTER TABLE workerpool.revisions ALTER COLUMN id RESTART
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
