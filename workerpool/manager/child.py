"""One child process: its start, its channel, its output, its end.

Owns: the process and every descriptor that belongs to it. Invariant: signals go through a pidfd, so that no stranger
with a reused pid is
ever hit; a child is spawned by executing a fresh interpreter, never by forking this one's threads, sockets or locks.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

from workerpool.core.plan import Stage
from workerpool.link import board as boards
from workerpool.link import channel as channels
from workerpool.link.board import Board
from workerpool.link.channel import Channel
from workerpool.link.failpoints import reach
from workerpool.manager.spec import ChildSpec

LOG_DESCRIPTOR = "WORKERPOOL_LOG_DESCRIPTOR"
READ_AT_ONCE = 65_536


class Process:
    """A started child."""

    def __init__(self, spec: ChildSpec, generation: int, board: Board, environment: Mapping[str, str]) -> None:
        self.spec, self.generation = spec, generation
        self.channel: Channel | None = None
        self.output: int | None = None
        self.pidfd = -1
        inherited: list[int] = []
        try:
            self._spawn(board, {**environment, **spec.environment}, inherited)
        except OSError:
            self.close()
            raise
        finally:
            for descriptor in inherited:
                os.close(descriptor)

    def _spawn(self, board: Board, variables: dict[str, str], inherited: list[int]) -> None:
        spec, write_end = self.spec, None
        reach("before_spawn")
        passed = [*spec.descriptors]
        if spec.brief is not None:
            self.channel, theirs = channels.pair()
            inherited.append(theirs.detach())
            variables |= {channels.VARIABLE: str(inherited[-1]), boards.VARIABLE: str(board.descriptor)}
            passed.append(board.descriptor)
        if spec.board_slot is not None:  # a worker: what its handlers write past Python is read here
            self.output, write_end = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self.output, False)
            inherited += [write_end, os.dup(2)]
            variables[LOG_DESCRIPTOR] = str(inherited[-1])
        self._popen = subprocess.Popen(
            spec.argv,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            pass_fds=[*passed, *(descriptor for descriptor in inherited if descriptor != write_end)],
            close_fds=True,
        )
        self.pid = self._popen.pid
        self.pidfd = os.pidfd_open(self.pid)
        reach("after_spawn")
        if self.channel is not None and spec.brief is not None:
            self.channel.send("brief", **spec.brief(self.generation))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone is no error."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def ask(self) -> None:
        """Ask it to end after what it is doing."""
        if self.channel is None:
            self.signal(signal.SIGINT)  # postgres: a fast shutdown
        elif self.spec.stage == Stage.PREPARE:
            self.signal(signal.SIGTERM)
        else:
            self.channel.send("stop")

    def abort(self) -> None:
        """Ask it to end at once."""
        self.signal(signal.SIGQUIT)

    def kill(self) -> None:
        """End it; a database is at least told to leave at once."""
        self.signal(signal.SIGQUIT if self.spec.stage == Stage.POSTGRES else signal.SIGKILL)

    def ended(self) -> int | None:
        """Return the exit status (negative: the signal that killed it), or None while it runs."""
        return self._popen.poll()

    def read_output(self) -> bytes | None:
        """Return what is there of the child's output; None: nothing, and nobody could write to it any more."""
        if self.output is None:
            return b""
        try:
            return os.read(self.output, READ_AT_ONCE) or None
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close every descriptor of an ended child."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
        if self.channel is not None:
            self.channel.close()
        if self.output is not None:
            os.close(self.output)
