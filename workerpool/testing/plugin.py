"""The pytest plugin: fixtures, and nothing else.

Invariant: nothing of workerpool is imported before a test asks for one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workerpool.testing.queue import Queue
    from workerpool.testing.server import Databases


@pytest.fixture(scope="session")
def workerpool_databases() -> Iterator[Databases]:
    """A PostgreSQL for the whole run: the wheel's, or the one that WORKERPOOL_TEST_DATABASE_URL names."""
    from workerpool.testing import server

    try:
        with server.running() as databases:
            yield databases
    except server.NoServer as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def workerpool_database(workerpool_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a fresh, migrated database, which ``Client()`` and ``Pool()`` without arguments use in this test."""
    with workerpool_databases.fresh() as url:
        for name in ("WORKERPOOL_DATABASE_URL_FILE", "WORKERPOOL_SCHEMA", "WORKERPOOL_ENV_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("WORKERPOOL_DATABASE_URL", url)
        yield url


@pytest.fixture
def workerpool_queue(
    workerpool_database: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Queue]:
    """The queue of a fresh database: enqueue with its client, ``drain`` it, look at what became of it."""
    from workerpool.testing.queue import Queue

    home: Path = tmp_path_factory.mktemp("workerpool-home")
    monkeypatch.setenv("WORKERPOOL_HOME", str(home))
    with Queue(workerpool_database, home) as queue:
        yield queue
