"""One run of a program: from its start to the end of its last process.

Owns the process, its pipes and its clock. It does not know revisions: it is told when to stop by a function, and hands
back what happened.

Invariant: when `run_program` is left, by a return or by any exception, no process of the program is alive, no pipe
is open and its leader is reaped. Pipes are always drained, so the program never waits for us; reading is bounded in
time, so a process that keeps a pipe open never makes us wait.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from workerpool.handlers.command_output import Excerpt, LineLog
from workerpool.handlers.subprocess_tree import ProcessFact, ProcessTree, children_of_this_process

_CHUNK = 65536
_TICK = 0.1
# What is in a pipe when the leader exits is read at once; this is for helpers that are about to finish.
_DRAIN = 0.5
_LEFTOVER_GRACE = 1.0
_KILL_LIMIT = 5.0
_REAP_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: the program's path, its arguments with argv[0], and where and with what it runs."""

    path: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: str | None
    mark: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds until the program is asked to stop (None: never), seconds from asking to killing, bytes kept.

    `output_limit`: bytes of both streams together beyond which it is asked to stop too (None: never).
    """

    timeout: float | None
    grace: float
    max_output: int
    output_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended; `exit_status` and `signal` are both None when somebody else took its exit status.

    `stopped` is why we ended it, None when it ended by itself. `leftovers` are the processes that it left behind,
    `survivors` those of them that could not be killed.
    """

    exit_status: int | None
    signal: int | None
    seconds: float
    stopped: str | None
    leftovers: tuple[ProcessFact, ...]
    survivors: tuple[ProcessFact, ...]
    stdout: Excerpt
    stderr: Excerpt


class _Stream:
    """One pipe with what is kept of it."""

    def __init__(self, pipe: IO[bytes], limit: int, write: Callable[[str], object]) -> None:
        self.pipe = pipe
        self.excerpt = Excerpt(limit)
        self._lines = LineLog(write)
        os.set_blocking(pipe.fileno(), False)

    def read(self) -> bool:
        """Take one chunk; false at the end of the stream."""
        try:
            chunk = os.read(self.pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        self.excerpt.add(chunk)
        self._lines.add(chunk)
        return bool(chunk)

    def close(self) -> None:
        self._lines.close(self.excerpt)


def run_program(
    program: Program,
    limits: Limits,
    stdin: IO[bytes],
    *,
    should_stop: Callable[[], str | None],
    write_line: Callable[[str, str], object],
) -> Ending:
    """Run a program to the end of its last process.

    `should_stop` is asked ten times a second and returns why the program must end, or None. `write_line` gets each
    line of output and the name of its stream, while the program runs. Raises OSError when it cannot be started.
    """
    elders = children_of_this_process()
    process = _start(program, stdin)
    run = _Run(process, ProcessTree(process.pid, program.mark, elders), limits, should_stop, write_line)
    try:
        return run.until_end()
    finally:
        run.close()


def _start(program: Program, stdin: IO[bytes]) -> "subprocess.Popen[bytes]":
    # A mask is inherited: with TERM blocked in this thread no program would ever notice a polite request.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        return subprocess.Popen(
            program.argv,
            executable=program.path,
            env=program.environment,
            cwd=program.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Run:
    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        tree: ProcessTree,
        limits: Limits,
        should_stop: Callable[[], str | None],
        write_line: Callable[[str, str], object],
    ) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._tree = tree
        self._limits = limits
        self._should_stop = should_stop
        self._started = time.monotonic()
        self._stopped: str | None = None
        self._kill_at = float("inf")
        self._gave_up = False
        self._is_over = False
        self._stdout = _Stream(process.stdout, limits.max_output, lambda line: write_line(line, "stdout"))
        self._stderr = _Stream(process.stderr, limits.max_output, lambda line: write_line(line, "stderr"))
        self._selector = selectors.DefaultSelector()
        for stream in (self._stdout, self._stderr):
            self._selector.register(stream.pipe, selectors.EVENT_READ, stream)

    def until_end(self) -> Ending:
        code, status = self._until_exit()
        seconds = time.monotonic() - self._started
        if self._stopped is None:
            self._drain(_DRAIN)
        leftovers = tuple(self._tree.living())
        survivors = self._end_leftovers() if leftovers else self._tree.kill(seconds=_KILL_LIMIT)
        self._drain(_DRAIN)
        self._is_over = True
        for stream in (self._stdout, self._stderr):
            stream.close()
        exited = code == os.CLD_EXITED
        return Ending(
            exit_status=status if exited else None,
            signal=status if code is not None and not exited else None,
            seconds=seconds,
            stopped=self._stopped,
            leftovers=leftovers,
            survivors=tuple(survivors),
            stdout=self._stdout.excerpt,
            stderr=self._stderr.excerpt,
        )

    def close(self) -> None:
        """Kill what may still live, close the pipes and reap the leader."""
        if not self._is_over:
            self._tree.kill(seconds=_KILL_LIMIT)
        self._selector.close()
        for stream in (self._stdout, self._stderr):
            stream.pipe.close()
        # A process in uninterruptible sleep outlives KILL: it is left to the kernel instead of hanging the worker.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._tree.close()

    def _until_exit(self) -> tuple[int | None, int | None]:
        with self._watch_leader():
            reap_at = self._started + _REAP_EVERY
            while True:
                has_exited, code, status = self._has_exited()
                if has_exited or self._gave_up:
                    return code, status
                now = time.monotonic()
                self._keep_time(now)
                if now >= reap_at:
                    self._tree.living()
                    reap_at = now + _REAP_EVERY
                self._turn(_TICK)

    def _keep_time(self, now: float) -> None:
        if self._stopped is None:
            self._stopped = self._beyond_limit(now) or self._should_stop()
            if self._stopped is not None:
                self._kill_at = now + self._limits.grace
                self._ask()
        elif now >= self._kill_at:
            self._gave_up = bool(self._tree.kill(seconds=_KILL_LIMIT))

    def _beyond_limit(self, now: float) -> str | None:
        timeout, most = self._limits.timeout, self._limits.output_limit
        if timeout is not None and now - self._started >= timeout:
            return "timeout"
        printed = self._stdout.excerpt.size + self._stderr.excerpt.size
        return "output" if most is not None and printed > most else None

    def _ask(self) -> None:
        self._tree.signal(signal.SIGTERM)
        # A stopped process takes notice of TERM only when it goes on.
        self._tree.signal(signal.SIGCONT)

    def _end_leftovers(self) -> list[ProcessFact]:
        if self._stopped is None:
            self._kill_at = time.monotonic() + min(self._limits.grace, _LEFTOVER_GRACE)
            self._ask()
        pause = 0.005
        while self._tree.living() and time.monotonic() < self._kill_at:
            self._turn(pause)
            pause = min(pause * 2, _TICK)
        return self._tree.kill(seconds=_KILL_LIMIT)

    def _drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self._selector.get_map():
            self._turn(left)

    def _turn(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            stream = key.data
            if isinstance(stream, _Stream) and not stream.read():
                self._selector.unregister(stream.pipe)

    @contextlib.contextmanager
    def _watch_leader(self) -> Iterator[None]:
        """Let the selector wake up at the leader's exit; without a pidfd it is noticed at the next tick."""
        try:
            handle = os.pidfd_open(self._process.pid)
        except OSError:
            yield
            return
        self._selector.register(handle, selectors.EVENT_READ)
        try:
            yield
        finally:
            self._selector.unregister(handle)
            os.close(handle)

    def _has_exited(self) -> tuple[bool, int | None, int | None]:
        """Look at the leader's exit without reaping it: whether, the kind of exit, and its status or signal."""
        try:
            result = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # SIGCHLD is ignored here, or somebody waited for any child: the status is lost.
            return True, None, None
        return (False, None, None) if result is None else (True, result.si_code, result.si_status)
