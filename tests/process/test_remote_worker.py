"""The remote worker in Python: through pauses, lost leases, stops, and a server that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, shared, token_of
from tests.process.conftest import up
from tests.process.daemon import Daemon, gone, until
from tests.process.dropping import Dropping
from tests.process.remote import Remote
from workerpool.remote import RemoteWorker

Start = Callable[..., Remote]


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here; only remote workers have the handlers that are asked for."""
    settings = {"api_token": OPERATOR, "workers": 1, "unhandled_after": "10m", "pause_poll_interval": "300ms"}
    settings |= {"lease": "3s", "poll_interval": "500ms"}
    with shared(server, template, tmp_path_factory.mktemp("remote"), **settings) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def token(daemon: Daemon) -> str:
    """A worker's token."""
    return token_of(daemon, "far")


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[httpx.Client]:
    """Somebody who may everything; whatever is paused at the end goes on."""
    with asking(daemon, OPERATOR) as client:
        yield client
        client.post("/api/system/worker-pause", json={"action": "resume", "everybody": True})


@pytest.fixture
def start(daemon: Daemon, token: str) -> Iterator[Start]:
    """Start remote workers; at the end nothing of them is left."""
    made: list[Remote] = []

    def begin(*words: str, name: str = "", **more: Any) -> Remote:
        name = name or f"R{time.monotonic_ns()}"
        made.append(Remote.python(daemon, more.pop("token", token), *words, name=name, **more))
        return made[-1]

    yield begin
    for each in made:
        each.clear()


def steps(daemon: Daemon, revision: int) -> int:
    """How many steps a revision has taken."""
    return len(daemon.entries("step", revision))


def paused(operator: httpx.Client, mode: str, reason: str = "a test") -> int:
    """Pause everything; returns the version."""
    answer = operator.post("/api/system/worker-pause", json={"action": "pause", "mode": mode, "reason": reason})
    return int(answer.json()["version"])


def resume(operator: httpx.Client) -> None:
    """Go on."""
    operator.post("/api/system/worker-pause", json={"action": "resume", "everybody": True})


@pytest.mark.parametrize("mode", ["drain", "quiesce"])
def test_a_pause_is_obeyed(daemon: Daemon, start: Start, operator: httpx.Client, mode: str) -> None:
    """A drain lets it finish, a quiesce holds it at its next checkpoint, provably; nothing is claimed meanwhile, and
    each version is told once.
    """
    remote = start()
    running = daemon.insert(f"running {mode}", "far steps", {"steps": 40, "seconds": 0.05})
    daemon.begun(running)
    version = paused(operator, mode, "an upgrade")
    waiting = daemon.insert(f"waiting {mode}", "far steps", {"steps": 1})
    until(lambda: operator.get("/api/system/safe-state").json()["isSafe"], what="safe")
    before = steps(daemon, running)
    assert daemon.row(running)["status"] == ("completed" if mode == "drain" else "processing")
    assert (before < 40) == (mode == "quiesce")
    time.sleep(3.5)  # a lease, in which nothing may happen
    assert (steps(daemon, running), daemon.row(waiting)["status"]) == (before, "pending")
    assert operator.get("/api/system/safe-state").json()["isSafe"]
    told = remote.events("pause.changed")
    assert [(each["version"], each["mode"], each["reason"]) for each in told] == [(version, mode, "an upgrade")]
    resume(operator)
    for each in (running, waiting):
        row = daemon.ended(each)
        assert (row["status"], row["attempt"]) == ("completed", 1)
    assert len(remote.events("revision.held", revision_id=running)) == (mode == "quiesce")
    assert ("held at a checkpoint: an upgrade" in daemon.lines(running)) == (mode == "quiesce")
    assert remote.stop() == 0


def test_a_hold_ends_with_a_cancel_or_a_stop(daemon: Daemon, start: Start, operator: httpx.Client) -> None:
    """A cancelled one ends; one whose worker stops is given back, and not counted."""
    for number, how in enumerate(("cancel", "stop")):
        remote = start()
        revision = daemon.insert(f"held {number}", "far steps", {"steps": 1000, "seconds": 0.02})
        daemon.begun(revision)
        paused(operator, "quiesce")
        remote.event("revision.held")
        if how == "cancel":
            operator.post(f"/api/revisions/{revision}/cancel")
            assert daemon.ended(revision)["status"] == "cancelled"
        assert remote.stop() == 0
        if how == "stop":
            assert (daemon.row(revision)["status"], daemon.row(revision)["attempt"]) == ("pending", 0)
            operator.post(f"/api/revisions/{revision}/cancel")
        resume(operator)


def test_a_lost_lease_is_left_alone(daemon: Daemon, start: Start) -> None:
    """A worker that was stopped for longer than its lease finds its claim gone: it writes nothing, and works on."""
    frozen, other = start(), None
    revision = daemon.insert("lost", "far steps", {"steps": 100, "seconds": 0.05})
    daemon.begun(revision)
    frozen.send(signal.SIGSTOP)
    try:
        until(lambda: daemon.row(revision)["status"] == "pending", what="rescued")
        assert (daemon.row(revision)["attempt"], daemon.row(revision)["crash_count"]) == (1, 1)
        other = start()
        daemon.begun(revision, attempt=2)
    finally:
        frozen.send(signal.SIGCONT)
    lost = frozen.event("lease.lost", revision_id=revision, attempt=1)
    assert "no heartbeat was accepted for a lease" in lost["why"] or "no longer in force" in lost["why"]
    row = daemon.ended(revision)
    assert (row["status"], row["result"]) == ("completed", {"attempt": 2})
    frozen.event("revision.fenced", revision_id=revision)
    taken = [int(each[2]) for each in daemon.entries("end", revision)]
    assert taken == [2], "the first attempt stopped at a checkpoint"
    again = daemon.insert("lost", "far steps", {"steps": 1})
    assert daemon.ended(again)["status"] == "completed"
    assert other.stop() == 0
    assert frozen.stop() == 0


def test_a_cancel_reaches_the_handler(daemon: Daemon, start: Start, operator: httpx.Client) -> None:
    """At a checkpoint, or in an event loop; one that does not listen ends with its process, and others are not held
    up.
    """
    remote = start("--cancel-grace", "500ms")
    for handler, payload in (("far steps", {"steps": 10_000}), ("far async", {"seconds": 1000})):
        revision = daemon.insert(handler, handler, payload)
        daemon.begun(revision)
        operator.post(f"/api/revisions/{revision}/cancel")
        assert daemon.ended(revision)["status"] == "cancelled"
    deaf = daemon.insert("deaf", "far stubborn", timeout_seconds=600)
    daemon.begun(deaf)
    operator.post(f"/api/revisions/{deaf}/cancel")
    assert daemon.ended(deaf)["status"] == "cancelled"
    assert remote.code() == 1
    assert "runs on" in remote.event("worker.failed")["error"]


def test_a_handler_beyond_its_time_ends_with_its_process(daemon: Daemon, start: Start) -> None:
    """It fails as timed out, at once; a supervisor starts another worker."""
    remote = start("--cancel-grace", "300ms")
    row = daemon.ended(daemon.insert("overdue", "far stubborn"))
    assert (row["status"], row["error_kind"], row["attempt"]) == ("failed", "timeout", 1)
    assert remote.code() == 1


def test_a_stop_lets_it_finish_or_gives_it_back(daemon: Daemon, start: Start) -> None:
    """TERM claims nothing more; within the grace it finishes, else it is given back uncounted, and the code says so."""
    remote = start("--grace", "20s")
    short = daemon.insert("stop 1", "far steps", {"steps": 20, "seconds": 0.05})
    daemon.begun(short)
    behind = daemon.insert("stop 1", "far steps", {"steps": 1})
    assert remote.stop() == 0
    assert (daemon.row(short)["status"], daemon.row(behind)["status"]) == ("completed", "pending")
    remote = start("--grace", "300ms")
    daemon.ended(behind)
    long = daemon.insert("stop 2", "far steps", {"steps": 10_000})
    daemon.begun(long)
    assert remote.stop() == 0
    assert (daemon.row(long)["status"], daemon.row(long)["attempt"]) == ("pending", 0)
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", long)
    deaf = daemon.insert("stop 3", "far stubborn", timeout_seconds=600)
    remote = start("--grace", "300ms", "--cancel-grace", "300ms")
    daemon.begun(deaf)
    assert remote.stop() == 5
    assert (daemon.row(deaf)["status"], daemon.row(deaf)["attempt"]) == ("pending", 0)
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", deaf)


def test_ctrl_c_twice_is_at_once(daemon: Daemon, start: Start) -> None:
    """The first is a graceful stop, the second does not wait for the grace."""
    remote = start("--grace", "10m")
    revision = daemon.insert("int", "far steps", {"steps": 10_000})
    daemon.begun(revision)
    remote.send(signal.SIGINT)
    time.sleep(0.5)  # a moment in which it goes on
    assert remote.process.poll() is None
    remote.send(signal.SIGINT)
    assert remote.code() == 0
    assert daemon.row(revision)["attempt"] == 0
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", revision)


def test_a_server_that_is_away_for_a_moment_loses_nothing(pool: Callable[..., Daemon]) -> None:
    """The API is killed while a handler runs: the handler runs on, and its result is told to the next one."""
    own = up(pool(api=True, api_token=OPERATOR, workers=1, lease="60s", unhandled_after="10m", poll_interval="200ms"))
    remote = Remote.python(own, token_of(own, "far"))
    try:
        revision = own.insert("away", "far steps", {"steps": 10, "seconds": 0.05})
        own.begun(revision)
        api = own.pid_of_child("api")
        os.kill(api, signal.SIGKILL)
        row = own.ended(revision)
        assert (row["status"], row["attempt"], len(own.entries("begin"))) == ("completed", 1, 1)
        assert gone(api)
        remote.event("server.lost")
        remote.event("server.regained")
        assert own.ended(own.insert("away", "far steps", {"steps": 1}))["status"] == "completed"
        assert remote.stop() == 0
    finally:
        remote.clear()
    assert own.stop() == 0


def test_it_steps_down_by_its_own_clock(daemon: Daemon, start: Start) -> None:
    """While the server hangs nobody can say that the claim is lost: after a lease the handler is stopped anyway."""
    remote = start()
    revision = daemon.insert("hangs", "far steps", {"steps": 10_000})
    daemon.begun(revision)
    api = daemon.pid_of_child("api")
    os.kill(api, signal.SIGSTOP)
    try:
        lost = remote.event("lease.lost", revision_id=revision)
        assert lost["why"] == "no heartbeat was accepted for a lease"
        remote.event("server.lost")
        remote.event("revision.fenced", revision_id=revision)
        taken = steps(daemon, revision)
        until(lambda: daemon.row(revision)["status"] == "pending", what="rescued")
        assert steps(daemon, revision) == taken
    finally:
        os.kill(api, signal.SIGCONT)
    daemon.begun(revision, attempt=2)
    remote.event("server.regained")
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", revision)
    assert daemon.ended(revision)["status"] == "cancelled"
    assert remote.stop() == 0


@pytest.mark.parametrize("what", ["claim", "complete", "heartbeat"])
def test_a_lost_answer_is_asked_for_again(daemon: Daemon, start: Start, what: str) -> None:
    """The server did it, and the answer never came: it is one claim, one result, one attempt."""
    with Dropping(daemon, f"/{what}") as proxy:
        remote = start(url=proxy.url)
        revision = daemon.insert(f"dropped {what}", "far steps", {"steps": 20, "seconds": 0.05})
        row = daemon.ended(revision)
        until(lambda: proxy.dropped, what="an answer dropped")
        assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
        assert len(daemon.entries("begin", revision)) == 1
        remote.event("revision.completed", revision_id=revision)
        assert remote.stop() == 0


def test_one_that_is_refused_says_why_and_ends(daemon: Daemon, start: Start, token: str) -> None:
    """A wrong token, a handler beyond its scopes, another program's address: exit 78, and the token is in no line."""
    remote = start(token="wp_wrong")
    assert remote.code() == 78
    assert "401" in remote.event("worker.failed")["error"]
    assert "wp_wrong" not in remote.text()
    scoped = token_of(daemon, "scoped", scopes=["other"])
    remote = start(token=scoped)
    assert remote.code() == 78
    assert "this token may not claim" in remote.event("worker.failed")["error"]
    assert start(url=f"http://{daemon.settings['http']}/elsewhere").code() == 78
    assert start("--handlers", "no_such_module").code() == 4
    assert start(url="ftp://x").code() == 2


def test_a_token_that_is_revoked_ends_it(daemon: Daemon, start: Start) -> None:
    """What runs is stopped, nothing is written, and the worker ends: nobody will let it in again."""
    revoked = token_of(daemon, "revoked")
    remote = start(token=revoked)
    revision = daemon.insert("revoked", "far steps", {"steps": 10_000})
    daemon.begun(revision)
    daemon.sql("UPDATE api_tokens SET revoked_at = now() WHERE name = 'revoked'")
    assert remote.code() == 78
    until(lambda: daemon.row(revision)["status"] == "pending", what="rescued")
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", revision)


def test_it_needs_no_database_driver(tmp_path: Path) -> None:
    """Importing it brings neither the driver, nor the settings, nor a web framework; a handler module brings none."""
    (tmp_path / "some_handlers.py").write_text("from workerpool import handler, Job\n@handler('a')\ndef a(job): ...\n")
    ask = """
import sys
from workerpool.remote import RemoteWorker
RemoteWorker("http://127.0.0.1:1", token="x", handlers=["some_handlers"])
print([each for each in ("psycopg", "pydantic", "fastapi", "sqlalchemy", "click") if each in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", done.stdout


@pytest.mark.parametrize(
    ("url", "token", "worker"),
    [
        ("127.0.0.1:3031", None, "R1"),
        ("ftp://host", None, "R1"),
        ("http://user:secret@host", None, "R1"),
        ("http://host", "two words", "R1"),
        ("http://host", "line\nend", "R1"),
        ("http://host", None, "a/b"),
    ],
)
def test_what_cannot_be_is_refused_at_once(url: str, token: str | None, worker: str) -> None:
    """With a sentence, in which no secret stands."""
    with pytest.raises(ValueError, match=r"allowed|token|address") as refused:
        RemoteWorker(url, token=token, handlers={"a": print}, worker=worker)
    assert "secret" not in str(refused.value)
    assert "two words" not in str(refused.value)


def test_it_runs_inside_of_a_program(daemon: Daemon, token: str) -> None:
    """Functions by name, on any thread, until somebody stops it."""
    worker = RemoteWorker(
        f"http://{daemon.settings['http']}",
        token=token,
        handlers={"far inside": lambda job: {"seen": job.payload}},
        worker="inside",
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert daemon.ended(daemon.insert("inside", "far inside", {"a": 1}))["result"] == {"seen": {"a": 1}}
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()
