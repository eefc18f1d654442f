"""Faults of handlers and of who asks over HTTP that no other file injects (F49, F80, F82)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, shared
from tests.process.command_job import Job, shell
from tests.process.daemon import Daemon, until
from workerpool.handlers.command import run_command

#: More than a page's worth of senders that never finish what they began.
SLOW, WATCHERS = 300, 60
#: Descriptors that the server may open and close meanwhile for itself.
SPARE = 5


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with an API."""
    with shared(server, template, tmp_path_factory.mktemp("faults"), api_token=OPERATOR, unhandled_after="10m") as one:
        yield one


def place(daemon: Daemon) -> tuple[str, int]:
    """Where its API listens."""
    host, _, port = str(daemon.settings["http"]).rpartition(":")
    return host, int(port)


def descriptors(daemon: Daemon) -> int:
    """How many the process of the API has open."""
    return len(os.listdir(f"/proc/{daemon.child('api')}/fd"))


@pytest.mark.parametrize(
    "script",
    [
        'rm -rf "$(dirname "$WORKERPOOL_PAYLOAD_FILE")"; echo done',
        'chmod 0 "$(dirname "$WORKERPOOL_PAYLOAD_FILE")"; echo done',
        'd="$(dirname "$WORKERPOOL_PAYLOAD_FILE")"; mkdir -p "$d/a/b"; chmod 500 "$d/a"; echo done',
    ],
)
def test_a_command_may_spoil_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """F49: its folder removed or closed: the run ends as the command does, and nothing of it is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_command(shell(script), Job(payload={"a": 1})) == {"output": "done\n"}
    assert os.listdir(tmp_path) == []


def test_senders_that_never_finish_starve_nobody(daemon: Daemon) -> None:
    """F80: hundreds of requests of which only the beginning comes: others are answered, and revisions performed."""
    with ExitStack() as held:
        for _ in range(SLOW):
            one = held.enter_context(socket.create_connection(place(daemon), timeout=10))
            one.sendall(b"POST /api/revisions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        with asking(daemon, OPERATOR) as operator:
            assert operator.get("/healthz").status_code == 200
            made = operator.post("/api/revisions", json={"itemKey": "slow", "handler": "work"})
            assert made.status_code == 201
        assert daemon.ended(made.json()["id"])["status"] == "completed"


def test_a_header_of_a_megabyte_is_refused(daemon: Daemon) -> None:
    """F80: the server reads no more of it than it takes, says so, and closes."""
    with socket.create_connection(place(daemon), timeout=20) as one:
        told = b""
        try:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * (1 << 20) + b"\r\n\r\n")
            while piece := one.recv(4096):
                told += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert b" 200 " not in told.split(b"\r\n")[0] + b" "
    with asking(daemon) as nobody:
        assert nobody.get("/healthz").status_code == 200


def test_watchers_that_vanish_leave_nothing(daemon: Daemon) -> None:
    """F82: those who watch are cut off in the middle, twice: the server's descriptors are as many as before."""
    with asking(daemon, OPERATOR) as operator:
        operator.get("/api/queue")
    before = descriptors(daemon)
    head = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OPERATOR}\r\n\r\n"
    for _ in range(2):
        with ExitStack() as held:
            for _ in range(WATCHERS):
                one = held.enter_context(socket.create_connection(place(daemon), timeout=20))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
                one.sendall(head.encode())
                assert b" 200 " in one.recv(4096)
            assert descriptors(daemon) > before + WATCHERS - SPARE
        until(lambda: descriptors(daemon) < before + SPARE, what="the descriptors of who watched are closed")
