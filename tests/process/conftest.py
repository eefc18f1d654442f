"""A daemon, or a server, for each test that wants one."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from workerpool.store import migrate


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def up(daemon: Daemon) -> Daemon:
    """Start a daemon with an API, and wait until that listens."""
    before = len(daemon.events("api.listening"))
    daemon.start()
    until(lambda: len(daemon.events("api.listening")) > before, what="the API")
    return daemon


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a daemon (not started) on a fresh database, with *api* one that answers; at the end nothing may be left."""
    made: list[Daemon] = []

    def make(**settings: object) -> Daemon:
        settings = {"http": f"127.0.0.1:{free_port()}"} | settings if settings.pop("api", False) else settings
        folder = tmp_path / f"pool{len(made)}"
        folder.mkdir()
        made.append(Daemon(database, folder, **settings))
        return made[-1]

    yield make
    for each in made:
        each.clear()


@pytest.fixture
def own() -> Iterator[OwnServer]:
    """A server of this test's own."""
    server = OwnServer()
    try:
        server.start()
        migrate.upgrade(server.url)
        yield server
    finally:
        server.remove()
