"""The example of a remote worker in shell, with curl and jq, through all that the one in Python goes through."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, shared, token_of
from tests.process.daemon import Daemon, until
from tests.process.remote import Remote

MISSING = [each for each in ("curl", "jq") if shutil.which(each) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
Start = Callable[..., Remote]


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here; the pool has no handler `words`. (Shell sleeps whole seconds.)"""
    settings = {"api_token": OPERATOR, "workers": 1, "unhandled_after": "10m", "pause_poll_interval": "1s"}
    settings |= {"lease": "5s", "heartbeat": "1s"}
    with shared(server, template, tmp_path_factory.mktemp("shell"), **settings) as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[httpx.Client]:
    """Somebody who may everything."""
    with asking(daemon, OPERATOR) as client:
        yield client
        client.post("/api/system/worker-pause", json={"action": "resume", "everybody": True})


@pytest.fixture
def start(daemon: Daemon, tmp_path: Path) -> Iterator[Start]:
    """Start shell workers; at the end nothing of them is left, and no file."""
    made: list[Remote] = []
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def begin(token: str | None = None) -> Remote:
        name = f"shell-{len(made)}-{tmp_path.name}"
        made.append(Remote.shell(daemon, token or token_of(daemon, name), name, TMPDIR=str(temporary)))
        return made[-1]

    yield begin
    for each in made:
        each.clear()
    assert list(temporary.iterdir()) == [] or any(each.process.returncode < 0 for each in made)


def step_of(daemon: Daemon, revision: int) -> Any:
    """What a revision said last."""
    return daemon.row(revision)["current_step"]


def test_it_performs_and_says_how_far_it_is(daemon: Daemon, start: Start) -> None:
    """Payload in, progress and lines meanwhile, result out; TERM ends it, and nothing of the token is anywhere."""
    token = token_of(daemon, "shell")
    remote = start(token)
    revision = daemon.insert("text", "words", {"text": 'it\'s "two" $(words)\nand more \u00fc', "rounds": 2})
    until(lambda: step_of(daemon, revision) == "round 2 of 2", what="the second step")
    arguments = Path(f"/proc/{remote.process.pid}/cmdline").read_text()
    row = daemon.ended(revision)
    assert (row["status"], row["result"]) == ("completed", {"summary": "6 words", "output": {"words": 6}})
    assert daemon.lines(revision) == ["round 1 of 2", "round 2 of 2"]
    assert remote.stop() == 0
    assert token not in remote.text() + arguments


def test_a_pause_is_obeyed_and_a_quiesce_holds_it(daemon: Daemon, start: Start, operator: httpx.Client) -> None:
    """It stays at a checkpoint, provably, claims nothing, says it once, and goes on as the same attempt."""
    remote = start()
    revision = daemon.insert("held", "words", {"rounds": 6})
    until(lambda: step_of(daemon, revision), what="begun")
    operator.post("/api/system/worker-pause", json={"action": "pause", "mode": "quiesce", "reason": "an upgrade"})
    waiting = daemon.insert("waiting", "words", {"rounds": 0})
    until(lambda: operator.get("/api/system/safe-state").json()["isSafe"], what="safe")
    step, lease = step_of(daemon, revision), daemon.row(revision)["lease_expires_at"]
    until(lambda: daemon.sql("SELECT 1 WHERE now() > %s", lease), what="a lease later")
    assert operator.get("/api/system/safe-state").json()["isSafe"]
    assert (step_of(daemon, revision), daemon.row(waiting)["status"]) == (step, "pending")
    operator.post("/api/system/worker-pause", json={"action": "resume"})
    for each in (revision, waiting):
        row = daemon.ended(each)
        assert (row["status"], row["attempt"]) == ("completed", 1)
    assert remote.text().count("an upgrade") == 1
    assert remote.stop() == 0


def test_a_lost_lease_is_left_alone(daemon: Daemon, start: Start) -> None:
    """Stopped for longer than its lease, it writes nothing more of that attempt; another worker has done the work."""
    frozen = start()
    revision = daemon.insert("lost", "words", {"rounds": 5, "text": "a b"})
    until(lambda: step_of(daemon, revision), what="begun")
    frozen.send(signal.SIGSTOP)
    try:
        until(lambda: daemon.row(revision)["status"] == "pending", what="rescued")
        other = start()
        until(lambda: daemon.row(revision)["attempt"] == 2, what="claimed by the other")
    finally:
        frozen.send(signal.SIGCONT)
    frozen.says("the claim is lost, nothing more is written")
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 2, 1)
    other.says(f"revision {revision}: complete")
    assert (frozen.stop(), other.stop()) == (0, 0)


def test_a_cancel_and_a_stop_take_effect_at_a_checkpoint(daemon: Daemon, start: Start, operator: httpx.Client) -> None:
    """A cancelled revision ends so; when the worker is told to stop what runs is given back, and not counted."""
    remote = start()
    revision = daemon.insert("cancel", "words", {"rounds": 600})
    until(lambda: step_of(daemon, revision), what="begun")
    operator.post(f"/api/revisions/{revision}/cancel")
    assert daemon.ended(revision)["status"] == "cancelled"
    revision = daemon.insert("stop", "words", {"rounds": 600})
    until(lambda: step_of(daemon, revision), what="begun")
    assert remote.stop() == 0
    assert (daemon.row(revision)["status"], daemon.row(revision)["attempt"]) == ("pending", 0)
    operator.post(f"/api/revisions/{revision}/cancel")


def test_one_that_is_refused_says_why(start: Start) -> None:
    """It ends with 78; the token is in no line."""
    remote = start("wp_wrong")
    assert remote.code() == 78
    assert "the server refuses (401): this token is not known" in remote.text()
    assert "wp_wrong" not in remote.text()
