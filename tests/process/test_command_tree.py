"""Whatever processes a command starts, none of them is left when its run is over, and no other process is touched."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.process.command_job import Job, at_most, python, shell
from workerpool.core.errors import Cancelled
from workerpool.handlers.command import CommandFailed, CommandTimedOut, run_command
from workerpool.handlers.subprocess_tree import read_process, read_processes
from workerpool.link.tether import WORKER, adopt_orphans, sweep

SOON = timedelta(milliseconds=200)
# A process that leaves its family: prints its pid, then "ready", and sleeps, deaf to TERM.
ESCAPE = """
import os, signal, sys, time
def escape(*, double_fork, clear, setsid=True):
    if os.fork():
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if setsid:
        os.setsid()
    if double_fork and os.fork():
        os._exit(0)
    code = "import os, time; os.write(1, b'pid %d\\\\nready\\\\n' % os.getpid()); time.sleep(1000)"
    os.execve(sys.executable, [sys.executable, "-c", code], {} if clear else dict(os.environ))
"""


@pytest.fixture(autouse=True)
def worker_like_process() -> Iterator[None]:
    """This process adopts orphans as a worker does; each test ends without a child that it did not have before."""
    adopt_orphans()
    before = children()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
    assert children() == before


def children() -> set[int]:
    """The pids of this process's children, dead ones too."""
    return {fact.pid for fact in read_processes().values() if fact.parent == os.getpid()}


def printed_pids(job: Job) -> list[int]:
    """The pids that the command's processes told."""
    return [int(found[1]) for line in job.log.lines("stdout") if (found := re.fullmatch(r"pid (\d+)", line))]


def is_gone(pid: int) -> bool:
    """Whether no process of that pid lives."""
    fact = read_process(pid)
    return fact is None or fact.is_dead


def cancelled_when_ready(times: int = 1) -> Job:
    """A job that is cancelled as soon as its command has printed "ready" so many times."""
    job, seen = Job(), []

    def on_line(line: str) -> None:
        seen.append(line)
        if seen.count("ready") >= times:
            job.token.reason = "the test wants it"
            job.token.event.set()

    job.log.on_line = on_line
    return job


@pytest.mark.parametrize("double_fork", [False, True])
@pytest.mark.parametrize("clear", [False, True])
def test_nothing_is_left_after_a_normal_end(double_fork: bool, clear: bool) -> None:
    """A grandchild with a session of its own, deaf to TERM and holding stdout, neither hangs the reader nor lives."""
    # The leader leaves only when the escaped process runs, which it hears from that process's own output.
    code = f"""{ESCAPE}
told, outer = os.pipe(), os.dup(1)
os.dup2(told[1], 1)
os.set_inheritable(outer, True)
escape(double_fork={double_fork}, clear={clear})
while b"ready" not in (text := os.read(told[0], 100)):
    os.write(outer, text)
os.write(outer, text)
"""
    job = Job()
    with at_most(10):
        result = run_command(python(code, grace=SOON), job)
    assert "ready" in result["output"]
    (pid,) = printed_pids(job)
    assert is_gone(pid)
    assert any("left processes behind" in message for _, message, _ in job.log.entries)


@pytest.mark.parametrize("double_fork", [False, True])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("setsid", [False, True])
def test_nothing_is_left_after_a_cancel(double_fork: bool, clear: bool, setsid: bool) -> None:
    """A cancel ends leader and escaped processes that are deaf to TERM, after the grace and not long after."""
    code = f"{ESCAPE}\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += (
        f"escape(double_fork={double_fork}, clear={clear}, setsid={setsid})\nprint('pid', os.getpid(), flush=True)\n"
    )
    job = cancelled_when_ready()
    with at_most(10), pytest.raises(Cancelled, match="the test wants it"):
        run_command(python(f"{code}\ntime.sleep(1000)", grace=SOON), job)
    pids = printed_pids(job)
    assert len(pids) == 2
    assert all(map(is_gone, pids))
    _, message, data = job.log.entries[-1]
    assert "was ended by SIGKILL after" in message
    assert (data["signal"], data["stopped"]) == ("SIGKILL", "cancelled")


def test_polite_command_may_finish_within_its_grace() -> None:
    """TERM comes first: a command that catches it can still say something, and is cancelled all the same."""
    job = cancelled_when_ready()
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    with at_most(10), pytest.raises(Cancelled):
        run_command(shell(script, grace=timedelta(seconds=60)), job)
    assert job.log.lines("stdout") == ["ready", "bye"]
    assert job.log.entries[-1][2]["exit_status"] == 0


def test_children_are_asked_too() -> None:
    """TERM reaches every process of the tree, not only the leader."""
    job = cancelled_when_ready(times=2)
    script = (
        "(trap 'echo child; exit 0' TERM; echo ready; while :; do sleep 0.01; done) & trap '' TERM; echo ready; wait"
    )
    with at_most(10), pytest.raises(Cancelled):
        run_command(shell(script, grace=timedelta(seconds=60)), job)
    assert "child" in job.log.lines("stdout")


def test_time_limit_of_a_command() -> None:
    """A command that takes longer than its own limit is ended, with its kind, limit and time."""
    with at_most(10), pytest.raises(CommandTimedOut, match=r"took longer than its limit of 0\.2 s") as caught:
        run_command(shell("trap '' TERM; sleep 1000", timeout=SOON, grace=SOON), Job())
    assert caught.value.kind == "timeout"
    assert caught.value.seconds >= 0.4


def test_stopped_process_is_ended() -> None:
    """A process that has stopped itself is woken to take its TERM."""
    job = cancelled_when_ready()
    with at_most(10), pytest.raises(Cancelled):
        run_command(shell("echo ready; kill -STOP $$", grace=timedelta(seconds=60)), job)
    assert job.log.entries[-1][2]["signal"] == "SIGTERM"


def test_signals_blocked_in_the_worker_reach_the_command() -> None:
    """A worker that has blocked TERM does not make its commands deaf to it."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        with at_most(10), pytest.raises(Cancelled):
            run_command(shell("echo ready; exec sleep 1000", grace=timedelta(seconds=60)), cancelled_when_ready())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_process_that_runs_away_by_forking_is_caught() -> None:
    """A process that forks and exits all the time, each time with a session of its own, ends with its command."""
    code = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    os.write(1, b"ready\\n")
    os._exit(0)
for _ in range(50_000):
    if os.fork():
        os._exit(0)
    os.setsid()
"""
    with at_most(20):
        run_command(python(code, grace=SOON), Job())


def test_error_of_ours_leaves_nothing() -> None:
    """When the log itself fails, the command is killed before the error goes on."""
    job = Job()

    def fail(line: str) -> None:
        raise RuntimeError("no log today")

    job.log.on_line = fail
    with at_most(10), pytest.raises(RuntimeError, match="no log today"):
        run_command(shell("trap '' TERM; echo ready; sleep 1000", grace=timedelta(seconds=60)), job)


def test_orphans_of_a_command_that_ran_well_are_reaped() -> None:
    """Short-lived orphans become neither zombies of the worker nor a warning."""
    job = Job()
    run_command(shell("for i in 1 2 3 4 5; do (true &); (setsid true &); done; sleep 0.2"), job)
    assert not [message for level, message, _ in job.log.entries if level == "warning"]


def test_other_children_of_the_worker_are_let_alone() -> None:
    """A child that the worker had before, even in its own session, is neither killed nor robbed of its status."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as living:
        with subprocess.Popen(["sh", "-c", "exit 7"], start_new_session=True) as dead:
            os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
            run_command(shell("(setsid sleep 1000 &) ; true", grace=SOON), Job())
            assert dead.wait() == 7
        assert living.poll() is None
        living.kill()


def test_two_commands_at_once_do_not_meet(tmp_path: Path) -> None:
    """The end of one command does not touch another that runs in the same process."""
    long, result = Job(), {}
    started = threading.Event()
    long.log.on_line = lambda line: started.set()
    script = f"echo ready; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo finished"
    thread = threading.Thread(target=lambda: result.update(run_command(shell(script), long)))
    thread.start()
    assert started.wait(10)
    run_command(shell("(setsid sleep 1000 &); true", grace=SOON), Job())
    (tmp_path / "go").touch()
    thread.join(10)
    assert result == {"output": "ready\nfinished\n"}


def test_lost_exit_status_is_no_success() -> None:
    """When something in the worker takes the exit status, the revision fails and says so."""
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with at_most(10), pytest.raises(CommandFailed, match="unknown exit status") as caught:
            run_command(shell("true"), Job())
    finally:
        signal.signal(signal.SIGCHLD, previous)
    assert (caught.value.exit_status, caught.value.signal) == (None, None)


def test_marked_processes_are_killed_after_their_worker() -> None:
    """What a killed worker's commands left is found by the mark alone, its whole value, and nothing else is touched."""
    code = f"{ESCAPE}\nescape(double_fork=True, clear=False)\nos.wait()\ntime.sleep(1000)"

    def start(worker: str) -> "tuple[subprocess.Popen[str], int]":
        environment = {"PATH": os.environ["PATH"], WORKER: worker}
        command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True)
        assert command.stdout is not None
        with command.stdout:
            return command, int(command.stdout.readline().split()[1])

    mine, other = start("W1.1"), start("W1.10")
    assert sweep(WORKER, "W1.1") == 2
    assert is_gone(mine[1])
    assert not is_gone(other[1])
    assert other[0].poll() is None
    assert sweep(WORKER, "W1.10") == 2
    for command, escaped in (mine, other):
        assert command.wait(10) == -signal.SIGKILL
        os.waitpid(escaped, 0)
