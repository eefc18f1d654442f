"""The HTTP face of a daemon under test: asked as a program asks it, and one daemon that several tests share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.conftest import Databases
from tests.process.conftest import free_port, up
from tests.process.daemon import Daemon
from workerpool.api.service import access
from workerpool.api.service.access import Role
from workerpool.store.session import Session

OPERATOR = "the token of the settings of this test"
Answer = TypeVar("Answer")


def url_of(daemon: Daemon) -> str:
    """Where a daemon's API is."""
    return f"http://{daemon.settings['http']}"


def asking(daemon: Daemon, token: str | None = None, **headers: str) -> httpx.Client:
    """Somebody who asks, under a token."""
    about = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=url_of(daemon), headers=about | headers, timeout=30.0, trust_env=False)


def token_of(daemon: Daemon, name: str, role: Role = "worker", scopes: Sequence[str] | None = None) -> str:
    """Make a token."""
    assert daemon.url is not None
    with Session(daemon.url, "workerpool", "test") as session:
        return access.add(session, name, role, "test", scopes=scopes)[0]


@contextmanager
def shared(server: Databases, template: str, folder: Path, **settings: object) -> Iterator[Daemon]:
    """A daemon with an API on a database of its own, for the tests of a module."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name, template)
    daemon = Daemon(server.url(name), folder, http=f"127.0.0.1:{free_port()}", **settings)
    try:
        yield up(daemon)
        assert daemon.events("request.failed") == []
        assert daemon.stop() == 0
    finally:
        daemon.clear()
        server.drop(name)


def at_once(count: int, ask: Callable[[int], Answer]) -> list[Answer]:
    """Ask so many times at the same moment; returns the answers in the order of the numbers."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(ask, range(count)))


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of a refusal; nothing that is nobody's business stands in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["type"].startswith("urn:workerpool:problem:")
    assert found["title"]
    assert found["detail"]
    assert "Traceback" not in answer.text
    return found
