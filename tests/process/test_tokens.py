"""Work tokens and the safe state, with real holders: who counts, who gives way, who is lost, and what a proof says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.process.daemon import Daemon, until
from workerpool import (
    Client,
    NotIdle,
    NotSafe,
    PausableTask,
    PausableTasks,
    Paused,
    WorkToken,
    pause_all,
    resume_all,
    wait_for_safe_state,
    wait_until_all_paused,
)

SCHEMA = "workerpool"
#: What a program does with its token, by a word on its standard input; it answers with a line.
HOLDER = """
import sys
from workerpool import WorkToken

token = WorkToken(name="deploy", url=sys.argv[1], schema="workerpool")
token.activate()
print("active", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "check":
        token.check_pause()
    elif word == "release":
        token.release()
    print(f"{token.active} {token.lost}", flush=True)
"""
PAGE = (Path(__file__).parents[2] / "docs" / "pausing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
#: A lease is 8 s; the promise is 10.
FORGOTTEN = 10.0


class Holder:
    """Another program that holds a token."""

    def __init__(self, url: str) -> None:
        words = [sys.executable, "-c", HOLDER, url]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.read() == "active"

    def read(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str) -> str:
        """Let it do something, and return whether its token is active, and lost."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.read()


@pytest.fixture
def holder(database: str) -> Iterator[Holder]:
    """A program with an active orchestrator's token; it is gone at the end."""
    made = Holder(database)
    yield made
    made.process.kill()
    made.process.communicate()


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    """Somebody who pauses and looks."""
    with Client(database, SCHEMA) as client:
        yield client


@pytest.fixture
def counts(connection: psycopg.Connection) -> Callable[[], dict[str, int]]:
    """The view active_counts."""
    return lambda: dict(connection.execute("SELECT kind, active FROM workerpool.active_counts").fetchall())


def token(database: str, *, pausable: bool = True, name: str = "mine") -> WorkToken:
    """A token of this process."""
    return WorkToken(pausable=pausable, name=name, url=database, schema=SCHEMA)


class Elsewhere:
    """A call on another thread."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.result: object = None
        self.thread = threading.Thread(target=lambda: setattr(self, "result", call()), daemon=True)
        self.thread.start()

    @property
    def over(self) -> bool:
        """Tell whether it has returned."""
        return not self.thread.is_alive()


def test_activate_and_release_are_idempotent(database: str, counts: Callable[[], dict[str, int]]) -> None:
    """One token is one row, however often it is asked for; its kind is what it counts as."""
    mine = token(database)
    assert (mine.active, mine.lost, mine.paused) == (False, False, False)
    mine.activate()
    mine.activate()
    assert mine.active
    assert counts() == {"orchestrator": 1, "background_worker": 0}
    with WorkToken("background_worker", name="other", url=database, schema=SCHEMA) as other:
        other.activate(timeout=0)
        assert counts() == {"orchestrator": 1, "background_worker": 1}
    assert not other.active
    mine.release()
    mine.release()
    assert counts() == {"orchestrator": 0, "background_worker": 0}
    with pytest.raises(ValueError, match="allowed: orchestrator, background_worker"):
        WorkToken("boss")  # type: ignore[arg-type]


def test_a_token_is_renewed(
    database: str, connection: psycopg.Connection, counts: Callable[[], dict[str, int]]
) -> None:
    """It counts for as long as its holder lives, also over a lost connection."""
    with token(database) as mine:
        first = connection.execute("SELECT expires_at FROM workerpool.work_tokens").fetchone()
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE '%%:tokens' AND datname = current_database()"
        )
        until(lambda: connection.execute("SELECT expires_at FROM workerpool.work_tokens").fetchone() != first, 5.0)
        assert mine.active
        assert counts()["orchestrator"] == 1


def test_a_killed_holder_stops_counting(holder: Holder, client: Client, counts: Callable[[], dict[str, int]]) -> None:
    """kill -9: within 10 s nobody counts it, and the pool is safe without it."""
    client.pause("for a test")
    with pytest.raises(
        NotSafe, match=rf"orchestrator deploy \(pid {holder.process.pid} on .*\) is active for \d+\.\d s"
    ):
        client.wait_for_safe_state(0, reason="now")
    holder.process.kill()
    killed = time.monotonic()
    until(lambda: counts()["orchestrator"] == 0, FORGOTTEN)
    safety = client.wait_for_safe_state(5, reason="then")
    assert time.monotonic() - killed < FORGOTTEN
    assert (safety.is_safe, safety.tokens) == (True, ())


def test_a_stopped_holder_does_not_hold_the_pool(
    holder: Holder, client: Client, connection: psycopg.Connection
) -> None:
    """SIGSTOP: its lease ends and the safe state comes; when it wakes up it sees that its token is lost."""
    os.kill(holder.process.pid, signal.SIGSTOP)
    assert client.wait_for_safe_state(FORGOTTEN + 2, reason="for a test").is_safe
    os.kill(holder.process.pid, signal.SIGCONT)
    assert holder.ask("look") == "False True"
    checked = Elsewhere(lambda: holder.ask("check"))
    assert client.wait_for_safe_state(0, reason="for a test").is_safe
    client.resume()
    until(lambda: checked.over)
    assert checked.result == "True False"
    row = connection.execute(
        "SELECT acquired_at > (SELECT created_at FROM workerpool.control_events WHERE action = 'resume') "
        "FROM workerpool.work_tokens"
    ).fetchone()
    assert row == (True,), "it went on only after the resume"
    assert holder.ask("release") == "False False"


def test_an_activation_waits_for_the_resume(database: str, client: Client) -> None:
    """While the pool is paused nobody begins; who does not want to wait is told why."""
    client.pause("an upgrade")
    mine = token(database)
    for patience in (0, 0.2):
        with pytest.raises(Paused, match=r"mine may not begin: the pool is paused \(an upgrade\)") as refused:
            mine.activate(timeout=patience)
    assert refused.value.reason == "an upgrade"
    began = Elsewhere(mine.activate)
    until(lambda: mine.paused)
    assert client.any_active() is False
    client.resume()
    until(lambda: began.over)
    assert (mine.active, mine.paused) == (True, False)
    mine.release()


def checking(mine: WorkToken, over: threading.Event) -> None:
    """A holder at its work."""
    while not over.wait(0.01):
        mine.check_pause()


def test_check_pause_gives_way(database: str, client: Client) -> None:
    """Its right is given back while it waits, so the pool is safe; it goes on by itself, active again."""
    with token(database) as mine:
        assert mine.check_pause()
        client.pause("for a test")
        over = threading.Event()
        loop = Elsewhere(lambda: checking(mine, over))
        assert client.wait_for_safe_state(5, reason="mine too").is_safe
        until(lambda: mine.paused)
        assert not mine.active
        client.resume()
        until(lambda: mine.active)
        mine.pause()
        until(lambda: mine.paused)
        assert client.any_active() is False
        mine.resume()
        until(lambda: mine.active)
        over.set()
        until(lambda: loop.over)


def test_one_that_is_not_pausable_is_waited_for(database: str, client: Client) -> None:
    """It goes on past check_pause; the safe state comes when it is released."""
    with token(database, pausable=False) as mine:
        client.pause("for a test")
        mine.pause()
        until(lambda: mine.check_pause() and mine._renewal().paused, what="the pause is seen")
        assert mine.check_pause()
        assert mine.active
        with pytest.raises(NotSafe, match="orchestrator mine"):
            client.wait_for_safe_state(0.2, reason="now")
        safe = Elsewhere(lambda: wait_for_safe_state(10, reason="then", url=database, schema=SCHEMA).is_safe)
    until(lambda: safe.over)
    assert safe.result is True


def test_a_token_belongs_to_its_process(database: str, counts: Callable[[], dict[str, int]]) -> None:
    """A fork has an inactive copy: releasing it does nothing, activating it makes a second one."""
    with token(database) as mine:
        said, says = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                mine.release()
                before = counts_of(database)
                was = mine.active
                mine.activate()
                os.write(says, f"{was} {before} {counts_of(database)}".encode())
                mine.release()
            finally:
                os._exit(0)
        os.close(says)
        with os.fdopen(said) as pipe:
            assert pipe.read() == "False 1 2"
        os.waitpid(child, 0)
        assert mine.active
        assert counts()["orchestrator"] == 1


def counts_of(database: str) -> int:
    """Orchestrators, asked on a connection of its own."""
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT active FROM workerpool.active_counts WHERE kind = 'orchestrator'").fetchone()
        assert row is not None
        return int(row[0])


def test_a_background_loop_gives_way(database: str, client: Client, counts: Callable[[], dict[str, int]]) -> None:
    """It runs, is counted, waits while the pool is paused, goes on, and stops."""
    steps = []
    task = PausableTask("mailer", lambda: steps.append(1), interval=0.01, url=database, schema=SCHEMA)
    assert task.status.running is False
    task.start()
    task.start()
    until(lambda: len(steps) > 3)
    assert counts()["background_worker"] == 1
    assert (task.running, task.paused) == (True, False)
    assert client.wait_for_safe_state(5, reason="for a test").is_safe
    assert task.status.paused
    done = len(steps)
    assert client.wait_for_safe_state(5, reason="still").is_safe
    assert len(steps) == done
    client.resume()
    until(lambda: len(steps) > done)
    assert task.stop(5) is True
    assert (task.status.running, task.status.paused, task.status.steps) == (False, False, len(steps))
    assert counts()["background_worker"] == 0
    client.pause("for another")
    task.start()
    until(lambda: task.paused)
    assert task.stop(5), "a wait for a resume ends with a stop"


def test_a_failing_step_is_tried_again(database: str) -> None:
    """An exception does not end the loop, and is told; a class may be written instead of a callable."""

    class Flaky(PausableTask):
        tries = 0

        def run_once(self) -> None:
            self.tries += 1
            if self.tries < 2:
                raise OSError("no route")

    task = Flaky("flaky", interval=0.2, url=database, schema=SCHEMA)
    task.start()
    until(lambda: task.status.failures == 1)
    assert task.status.last_error == "OSError: no route"
    until(lambda: task.status.steps > 0)
    assert task.status.failures == 0
    assert task.stop(5)


def test_several_loops_are_paused_together(database: str, client: Client) -> None:
    """A program's own pause of its loops, without the pool's."""
    with PausableTasks() as tasks:
        for name in ("a", "b"):
            tasks.add(PausableTask(name, lambda: None, 0.01, url=database, schema=SCHEMA)).start()
        until(lambda: all(each.steps for each in tasks.status))
        with pytest.raises(TimeoutError, match="not paused after 0 s: a, b"):
            tasks.wait_until_all_paused(0)
        tasks.pause_all()
        tasks.wait_until_all_paused(5)
        assert [each.paused for each in tasks.status] == [True, True]
        assert client.any_active() is False
        assert client.metrics()["paused"] is False
        tasks.resume_all()
        until(client.any_active)
    assert not any(each.running for each in tasks.status)


def test_a_safe_state_waits_for_an_orchestrator(holder: Holder, database: str, client: Client) -> None:
    """It comes when the orchestrator has ended, and the proof says what was seen; the pause stays until the resume."""
    safe = Elsewhere(lambda: wait_for_safe_state(20, reason="backup", mode="quiesce", url=database, schema=SCHEMA))
    until(lambda: client.metrics()["paused"])
    assert not safe.over
    holder.ask("release")
    until(lambda: safe.over)
    proof = safe.result
    assert (proof.is_safe, proof.mode, proof.reason) == (True, "quiesce", "backup")  # type: ignore[attr-defined]
    assert (proof.version, proof.running, proof.tokens) == (1, (), ())  # type: ignore[attr-defined]
    assert client.metrics()["paused"]
    assert resume_all("done", url=database, schema=SCHEMA) == 1
    assert client.metrics()["paused"] is False


def test_what_failed_takes_its_own_pause_away(holder: Holder, client: Client) -> None:
    """And only its own; with keep it stays."""
    with pytest.raises(NotSafe) as refused:
        client.wait_for_safe_state(0.2, reason="now")
    assert [each["holder"] for each in refused.value.safety.tokens] == ["deploy"]
    assert client.metrics()["paused"] is False
    client.pause("somebody else's", "quiesce", holder="ann")
    with pytest.raises(NotSafe, match=r"no safe state after 0\.2 s: orchestrator deploy"):
        client.wait_for_safe_state(0.2, reason="now")
    assert (client.metrics()["reason"], client.metrics()["mode"]) == ("somebody else's", "quiesce")
    with pytest.raises(NotSafe):
        client.wait_for_safe_state(0, reason="mine", keep=True)
    assert client.metrics()["reason"] == "somebody else's; mine"
    assert client.resume("my own") == 1
    assert client.metrics()["reason"] == "somebody else's"
    assert client.resume(everybody=True) == 1


def test_idle_is_when_nothing_is_active(holder: Holder, client: Client) -> None:
    """Whoever waits for it is told what was active."""
    assert client.any_active()
    with pytest.raises(NotIdle, match=r"not idle after 0\.1 s: active are 1 orchestrator"):
        client.wait_for_idle(0.1)
    idle = Elsewhere(lambda: client.wait_for_idle(10))
    holder.ask("release")
    until(lambda: idle.over)
    assert client.any_active() is False


def test_workers_are_part_of_the_proof(pool: Callable[..., Daemon], database: str) -> None:
    """What runs is named until it has ended; then the proof lists each worker with the version that it has seen."""
    daemon = pool().start()
    revision = daemon.insert("page", "work", {"seconds": 2})
    daemon.begun(revision)
    with Client(database, SCHEMA) as client:
        assert client.any_active()
    version = pause_all("for a test", url=database, schema=SCHEMA)
    with pytest.raises(NotSafe, match=f"revision {revision} of page runs"):
        wait_until_all_paused(0.2, url=database, schema=SCHEMA)
    later = daemon.insert("other", "work")
    proof = wait_until_all_paused(20, url=database, schema=SCHEMA)
    assert daemon.row(revision)["status"] == "completed"
    proof = wait_for_safe_state(5, reason="as well", url=database, schema=SCHEMA)
    assert proof.version > version
    assert len(proof.workers) == 2
    assert {each["version"] for each in proof.workers} == {proof.version}
    assert daemon.row(later)["status"] == "pending"
    assert resume_all(url=database, schema=SCHEMA) == 2
    assert daemon.ended(later)["status"] == "completed"
    assert daemon.stop() == 0


def test_a_keeper_sweeps_what_the_dead_left(pool: Callable[..., Daemon]) -> None:
    """The view safe_state is right for whoever looks with plain SQL, soon after the lease; it is told in the log."""
    daemon = pool(workers=1).start()
    daemon.sql(
        "INSERT INTO work_tokens (kind, holder, host, pid, expires_at) "
        "VALUES ('orchestrator', 'dead', 'web1', 1, clock_timestamp())"
    )
    until(lambda: daemon.sql("SELECT count(*) AS n FROM work_tokens")[0]["n"] == 0, 5.0)
    assert daemon.event("tokens.expired")["count"] == 1
    assert daemon.stop() == 0


@pytest.mark.parametrize("block", BLOCKS, ids=[each.splitlines()[0][-30:] for each in BLOCKS])
def test_the_page_runs(block: str, database: str, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    """Each example of docs/pausing.md, as it is written; none leaves a pause or a token behind."""
    monkeypatch.setenv("WORKERPOOL_DATABASE_URL", database)
    exec(compile(block, "docs/pausing.md", "exec", dont_inherit=True), {"__name__": "docs"})
    assert client.any_active() is False
    assert client.metrics()["paused"] is False
