"""The verbs of the pause as operators use them: real processes, a real pool, their output and their exit codes."""

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.calling import LIMIT, Run, environment, read, until, workerpool

STATE = "SELECT paused, mode, reason FROM workerpool.pause_state"
HOLDERS = "SELECT holder FROM workerpool.pauses"


@pytest.fixture
def settings(database: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a verb on the database and the home of `run`."""
    return environment(WORKERPOOL_DATABASE_URL=database, WORKERPOOL_HOME=str(tmp_path / "home"))


@pytest.fixture
def start(settings: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """Start a verb and let it run; whatever is left of it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def call(*words: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            workerpool(*words), env=settings | more, cwd=tmp_path, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield call
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def code_of(pid: int) -> int:
    """Wait for the end of a child of this process, and return its exit code."""

    def ended() -> tuple[int] | None:
        found, status = os.waitpid(pid, os.WNOHANG)
        return (os.waitstatus_to_exitcode(status),) if found else None

    return int(until(ended)[0])


def row(connection: psycopg.Connection, query: str) -> Any:
    """The first row of a query; None: there is none."""
    return connection.execute(query.encode()).fetchone()


def events(run: Run, *words: str) -> list[tuple[str, str, str | None, str | None]]:
    """Who did what, as `events` says."""
    return [(e["control"], e["action"], e["mode"], e["reason"]) for e in read(run("events", "--json", *words))]


def test_a_pause_is_asked_for_changed_and_taken_away(run: Run, connection: psycopg.Connection) -> None:
    """Each change is a version and a record; what is asked for again as it is changes nothing."""
    assert "version 1\n" in run("pause", "--reason", "an upgrade").stdout
    assert row(connection, STATE) == (True, "drain", "an upgrade")
    assert "paused (as it was)" in run("pause", "--reason", "an upgrade").stdout
    assert "version 2" in run("pause", "--mode", "quiesce", "--reason", "still", "--until", "+1h").stdout
    seen = read(run("status", "--json"))["pause"]
    assert (seen["paused"], seen["mode"], seen["reason"], seen["version"]) == (True, "quiesce", "still", 2)
    assert {"queued", "running", "stale_running", "held", "is_drained", "paused_seconds", "is_safe"} <= set(seen)
    assert (seen["is_safe"], len(seen["asked"]), seen["asked"][0]["until"] is None) == (True, 1, False)
    assert "the pool goes on" in run("resume", "--reason", "it is done").stdout
    assert row(connection, STATE)[0] is False
    assert events(run, "--control", "pool") == [
        ("pool", "pause", "drain", "an upgrade"),
        ("pool", "pause", "quiesce", "still"),
        ("pool", "resume", "quiesce", "it is done"),
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("pause",), 2, "A pause needs a reason"),
        (("pause", "--reason", "  "), 2, "A pause needs a reason"),
        (("pause", "--reason", "x", "--mode", "freeze"), 2, "'freeze' is not one of 'drain', 'quiesce'"),
        (("pause", "--reason", "x", "--timeout", "1s"), 2, "--timeout is for --wait"),
        (("pause", "--reason", "x", "--handler", "a", "--host", "b"), 2, "exclude each other"),
        (("pause", "--reason", "x", "--handler", ""), 2, "want a name"),
        (("pause", "--reason", "x", "--until", "2001-01-01T00:00"), 2, "is over already"),
        (("resume",), 4, "nothing is paused"),
        (("resume", "--all", "--holder", "x"), 2, "exclude each other"),
        (("events", "-f", "--json"), 2, "does not go with --follow"),
        (("safely",), 2, "Missing argument"),
        (("safely", "--", "no-such-command"), 127, "there is no such command"),
        (("safely", "/etc/passwd"), 126, "cannot be executed"),
        (("restore", "nothing.dump"), 2, "does not exist"),
        (("backup", "nowhere/file"), 78, "nothing can be written"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    """In one sentence, with its exit code, and nothing is paused for it."""
    done = run(*words, code=code)
    assert said in done.stderr
    assert done.stderr.startswith("workerpool: ")
    assert read(run("events", "--json")) == []


def test_others_pauses_are_named_and_left(run: Run, connection: psycopg.Connection) -> None:
    """`resume` takes away one's own; whose the others are, since when and why is said, and what takes them too."""
    connection.execute("SELECT workerpool.pause('all', 'drain', 'the disk is full', 'eve@far', 'eve@far', NULL)")
    refused = run("resume", code=4).stderr
    assert "there is no pause of yours" in refused
    assert "by eve@far for" in refused
    assert "the disk is full" in refused
    assert "`workerpool resume --holder eve@far` takes it away" in refused
    run("pause", "--reason", "mine")
    assert "still paused:\n  everything (drain) by eve@far" in run("resume").stdout
    assert row(connection, STATE)[0] is True
    assert run("resume", "--holder", "nobody", code=4).stderr.startswith("workerpool: there is no pause of nobody;")
    assert "the pool goes on" in run("resume", "--holder", "eve@far").stdout
    connection.execute("SELECT workerpool.pause('all', 'drain', 'again', 'eve@far', 'eve@far', NULL)")
    run("pause", "--reason", "mine")
    assert run("resume", "--all").stdout == "2 pauses taken away; the pool goes on\n"


def test_explain_names_the_pause_and_the_command_that_lifts_it(run: Run, connection: psycopg.Connection) -> None:
    """Of all, of a handler; what is not concerned is not. The command that is named can be typed."""
    run("enqueue", "a")
    run("enqueue", "b", "--handler", "slow")
    run("pause", "--reason", "slow is broken", "--handler", "slow")
    assert "no worker is alive" in read(run("explain", "1", "--json"))["why"]
    slow = read(run("explain", "2", "--json"))
    assert "handler 'slow' (drain) by" in slow["why"]
    assert "slow is broken" in slow["why"]
    assert "in part" in run("status").stdout
    connection.execute("SELECT workerpool.pause('all', 'drain', 'upgrade', 'eve', 'eve the first', NULL)")
    both = read(run("explain", "2", "--json"))
    assert "everything (drain) by eve the first" in both["why"]
    assert both["next"] == "workerpool resume --all"
    first = read(run("explain", "1", "--json"))
    assert first["next"] == "workerpool resume --holder 'eve the first'"
    run("resume", "--holder", "eve the first")
    assert "still paused" not in run("resume", "--handler", "slow").stdout
    assert row(connection, HOLDERS) is None


def test_events_follow_what_is_done(run: Run, start: Any) -> None:
    """Lines come as they are written, each once; --control leaves the others out."""
    run("halt", "page")
    following = start("events", "-f", "--control", "pool")
    assert following.stdout is not None
    run("pause", "--reason", "one")
    run("unhalt", "page")
    run("resume")
    lines = [following.stdout.readline() for _ in range(2)]
    assert "pause the pool (drain): one" in lines[0]
    assert "resume the pool" in lines[1]
    following.send_signal(signal.SIGINT)
    assert following.wait(LIMIT) == 0
    assert [e[:2] for e in events(run, "--control", "item")] == [("item", "halt"), ("item", "unhalt")]
    assert len(events(run, "--limit", "1")) == 1


def busy(run: Run, connection: psycopg.Connection, how_many: int = 1) -> None:
    """Let revisions of `slow` run."""
    for number in range(how_many):
        run("enqueue", f"slow{number}", "--handler", "slow")
    until(lambda: row(connection, "SELECT count(*) FROM workerpool.running_revisions") == (how_many,))


@pytest.mark.usefixtures("pool")
def test_pause_waits_for_what_runs(run: Run, start: Any, connection: psycopg.Connection) -> None:
    """What is in the way is named when the time is over (75), and the pause stays; when it has ended it is safe."""
    busy(run, connection)
    refused = run("pause", "--reason", "upgrade", "--wait", "--timeout", "500ms", code=75)
    assert "not safe in time:\n  - revision 1 of slow0 runs" in refused.stderr
    assert "it stays paused; `workerpool resume --holder" in refused.stderr
    assert "1 revision running" in run("status").stdout
    waiting = start("pause", "--reason", "upgrade", "--wait")
    run("cancel", "1", "--wait")
    said, _ = waiting.communicate(timeout=LIMIT)
    assert waiting.returncode == 0
    assert said.rstrip().endswith("; safe")
    run("resume")


@pytest.mark.usefixtures("pool")
def test_who_no_longer_waits_is_told_that_it_stays_paused(run: Run, start: Any, connection: psycopg.Connection) -> None:
    """Ctrl-C ends the wait, not the pause; a resume by somebody else ends the wait too."""
    busy(run, connection)
    waiting = start("pause", "--reason", "upgrade", "--wait")
    assert "1 revision running" in waiting.stdout.readline() + waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    assert "it stays paused; `workerpool resume --holder" in waiting.communicate(timeout=LIMIT)[1]
    assert (waiting.returncode, row(connection, STATE)[0]) == (130, True)
    waiting = start("pause", "--reason", "upgrade", "--wait")
    assert "paused (as it was)" in waiting.stdout.readline()
    run("resume")
    assert "somebody resumed meanwhile" in waiting.communicate(timeout=LIMIT)[1]
    assert waiting.returncode == 4


@pytest.mark.usefixtures("pool")
def test_what_is_held_is_explained(run: Run, connection: psycopg.Connection) -> None:
    """A quiesce is safe while a handler stays at its checkpoint; `explain` says so, and it goes on after."""
    busy(run, connection)
    assert "1 held at a checkpoint; safe" in run("pause", "--mode", "quiesce", "--reason", "copy", "--wait").stdout
    found = read(run("explain", "1", "--json"))
    assert "it is held at" in found["why"]
    assert "goes on by itself after the resume" in found["why"]
    assert found["next"].startswith("workerpool resume --holder")
    seen = read(run("status", "--json"))["pause"]
    assert (seen["is_safe"], seen["running"], seen["held"], seen["is_drained"]) == (True, 1, 1, False)
    assert "0 revisions running, 1 held" in run("status").stdout
    run("resume")
    until(lambda: "it is held" not in run("explain", "1").stdout)
    run("cancel", "1", "--wait")


def test_a_claim_that_hangs_is_named(run: Run, database: str) -> None:
    """75 after 5 s, with the backend that is in the way."""
    with psycopg.connect(database) as other, other.transaction():
        assert row(other, "SELECT workerpool.may_work()") == (True,)
        refused = run("pause", "--reason", "x", code=75).stderr
        assert "has not ended within 5 s" in refused
        assert f"pid {other.info.backend_pid}" in refused


@pytest.mark.usefixtures("pool")
def test_a_handler_is_paused_and_drained_alone(run: Run, connection: psycopg.Connection) -> None:
    """`--wait` waits for what runs of it, and others go on."""
    busy(run, connection)
    assert "; safe" in run("pause", "--reason", "x", "--handler", "good", "--wait").stdout
    run("pause", "--reason", "x", "--handler", "slow", "--wait", "--timeout", "200ms", code=75)
    run("enqueue", "b", "--handler", "bad", "--wait", code=1)
    run("cancel", "1", "--wait")
    assert "; safe" in run("pause", "--reason", "x", "--handler", "slow", "--wait", "--timeout", "20s").stdout


@pytest.mark.usefixtures("pool")
def test_safely_runs_its_command_while_nothing_runs(run: Run, connection: psycopg.Connection) -> None:
    """Its code is the command's, its output too; the pool is paused meanwhile and goes on after."""
    inside = "SELECT paused AND is_safe FROM safe_state"
    words = workerpool("psql", "-c", f"SET search_path = workerpool; {inside}")
    done = run("safely", "--reason", "look", "--", *words)
    assert "t\n" in done.stdout
    assert done.stderr == ""
    assert run("safely", "sh", "-c", "echo said; exit 7", code=7).stdout == "said\n"
    assert run("safely", "sh", "-c", "cat", stdin="given").stdout == "given"
    assert run("safely", "sh", "-c", "kill -KILL $$", code=128 + 9).stdout == ""
    assert row(connection, STATE)[0] is False
    done = run("enqueue", "after", "--handler", "good", "--wait")
    assert "completed" in done.stdout
    reasons = [event[3] for event in events(run) if event[1] == "pause"]
    assert reasons == ["look", "safely runs sh", "safely runs sh", "safely runs sh"]


@pytest.mark.usefixtures("pool")
def test_safely_does_nothing_when_it_is_not_safe_in_time(
    run: Run, connection: psycopg.Connection, tmp_path: Path
) -> None:
    """75, with what is in the way; the command did not run, and its pause is taken away."""
    busy(run, connection)
    refused = run("safely", "--timeout", "300ms", "touch", str(tmp_path / "ran"), code=75)
    assert "  - revision 1 of slow0 runs" in refused.stderr
    assert not (tmp_path / "ran").exists()
    assert row(connection, STATE)[0] is False


def test_a_command_that_vanishes_is_no_reason_to_stay_paused(run: Run, tmp_path: Path, connection: Any) -> None:
    """What cannot be run after all: the shell's codes, and the pause is taken away."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert "script: No such file" in run("safely", str(script), code=127).stderr
    assert row(connection, STATE)[0] is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_safely_goes_to_its_command(start: Any, connection: psycopg.Connection, number: int) -> None:
    """The command ends as it likes, and then the pause; Ctrl-C is the command's own affair."""
    script = f"trap 'echo got it; exit 9' {number}; echo ready; while :; do sleep 0.05; done"
    process = start("safely", "sh", "-c", script)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(number)
    said, _ = process.communicate(timeout=LIMIT)
    assert (said, process.returncode) == ("got it\n", 9)
    assert row(connection, STATE)[0] is False


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_safely_waits_ends_it(
    run: Run, start: Any, connection: psycopg.Connection, tmp_path: Path, number: int
) -> None:
    """128 and the signal; the command does not run, and the pause is taken away."""
    busy(run, connection)
    process = start("safely", "touch", str(tmp_path / "ran"))
    until(lambda: row(connection, STATE)[0])
    process.send_signal(number)
    assert process.wait(LIMIT) == 128 + number
    assert row(connection, STATE)[0] is False
    assert not (tmp_path / "ran").exists()


def test_the_pause_of_a_killed_safely_is_explained(run: Run, start: Any, connection: psycopg.Connection) -> None:
    """Who it was, whether process and command live, and the command that lifts it; nobody lifts it by himself."""
    run("enqueue", "a")
    process = start("safely", "sh", "-c", "echo ready; exec sleep 600")
    assert process.stdout.readline() == "ready\n"
    asked = read(run("status", "--json"))["pause"]["asked"][0]
    assert asked["holder"].startswith("safely ")
    assert f"@{socket.gethostname()} pid {process.pid} " in asked["holder"]
    assert "is alive, and takes the pause away" in asked["fate"]
    process.kill()
    process.wait(LIMIT)
    gone = f"its process {process.pid} on this host is gone without having taken the pause away; "
    said = run("explain", "1").stdout
    assert gone + "its command still runs (pid " in said
    command = int(said.partition("still runs (pid ")[2].partition(")")[0])
    assert Path(f"/proc/{command}/comm").read_text() == "sleep\n"
    os.kill(command, signal.SIGKILL)
    until(lambda: gone + "nothing of its command is seen to run" in run("status").stdout)
    assert "there is no pause of yours" in (refused := run("resume", code=4).stderr)
    assert gone in refused
    words = read(run("explain", "1", "--json"))["next"]
    assert words == f"workerpool resume --holder '{asked['holder']}'"
    run("resume", "--holder", asked["holder"])
    assert row(connection, STATE)[0] is False


@contextmanager
def terminal(settings: dict[str, str], folder: Path, *words: str) -> Iterator[tuple[int, int]]:
    """Run a verb as the foreground of a terminal of its own; yields its pid and the terminal's other end."""
    pid, end = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(sys.executable, workerpool(*words), settings | {"TERM": "xterm"})
    try:
        yield pid, end
    finally:
        try:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(end)


def said_until(end: int, wanted: str) -> str:
    """Read from a terminal until *wanted* is there."""
    told, deadline = "", time.monotonic() + LIMIT
    while wanted not in told:
        assert time.monotonic() < deadline, told
        if select.select([end], [], [], 0.1)[0]:
            try:
                told += os.read(end, 4096).decode()
            except OSError:  # nobody is at the other side any more
                raise AssertionError(f"{wanted!r} was not said, but: {told}") from None
    return told


def test_an_interactive_command_has_the_terminal(
    settings: dict[str, str], connection: psycopg.Connection, tmp_path: Path
) -> None:
    """It reads keys, is in the foreground, gets Ctrl-C with the default, and nothing else prints beside it."""
    script = (
        "import os, signal, sys\n"
        "print('front', os.isatty(0), os.tcgetpgrp(0) == os.getpgrp(), "
        "signal.getsignal(2) is signal.default_int_handler)\n"
        "try:\n    print('read', input())\n    input()\nexcept KeyboardInterrupt:\n"
        "    print('interrupted')\n    sys.exit(5)\n"
    )
    with terminal(settings, tmp_path, "safely", "--", sys.executable, "-c", script) as (pid, end):
        assert "front True True True" in said_until(end, "front True True True\r\n")
        os.write(end, b"hello\n")
        said = said_until(end, "read hello\r\n")
        os.write(end, b"\x03")
        said += said_until(end, "interrupted\r\n")
        assert code_of(pid) == 5
    assert said.replace("^C", "").split() == ["hello", "read", "hello", "interrupted"]
    assert row(connection, STATE)[0] is False


def test_a_stopped_safely_goes_on(settings: dict[str, str], connection: psycopg.Connection, tmp_path: Path) -> None:
    """Ctrl-Z stops it with its command, as a shell expects; CONT lets both go on, and the pause ends in order."""
    with terminal(settings, tmp_path, "safely", "sh", "-c", "echo ready; read x; exit 4") as (pid, end):
        said_until(end, "ready\r\n")
        os.killpg(pid, signal.SIGSTOP)  # (a session without a shell has no job control: TSTP would be ignored)
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        os.killpg(pid, signal.SIGCONT)
        os.write(end, b"\n")
        assert code_of(pid) == 4
    assert row(connection, STATE)[0] is False


def test_a_closed_terminal_ends_the_command_and_its_pause(
    settings: dict[str, str], connection: psycopg.Connection, tmp_path: Path
) -> None:
    """Nobody is there any more who could be told anything, and the pause is taken away all the same."""
    connection.execute("SELECT workerpool.pause('handler:x', 'drain', 'to be told of', 'eve', 'eve', NULL)")
    pid, end = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe(sys.executable, workerpool("safely", "sh", "-c", "echo ready; exec sleep 600"), settings)
    said_until(end, "ready\r\n")
    os.close(end)
    assert code_of(pid) == 128 + signal.SIGHUP
    assert row(connection, STATE)[0] is False


def test_the_wait_is_a_bar_on_a_terminal(
    run: Run, settings: dict[str, str], connection: psycopg.Connection, tmp_path: Path, pool: Any
) -> None:
    """How much still runs is seen while one waits."""
    busy(run, connection)
    words = ("pause", "--reason", "x", "--wait")
    with terminal(settings, tmp_path, *words) as (pid, end):
        said_until(end, "1 revision running")
        run("cancel", "1", "--wait")
        said_until(end, "; safe")
        assert code_of(pid) == 0
    assert pool.poll() is None
