"""A daemon for each test that wants one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a daemon (not started) on a fresh database; at the end nothing of it may be left."""
    made: list[Daemon] = []

    def make(**settings: object) -> Daemon:
        folder = tmp_path / f"pool{len(made)}"
        folder.mkdir()
        made.append(Daemon(database, folder, **settings))
        return made[-1]

    yield make
    for each in made:
        each.clear()
