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

from workerpool.link import board as boards
from workerpool.link import channel as channels
from workerpool.link.board import Board
from workerpool.link.channel import Channel
from workerpool.manager.spec import ChildSpec

LOG_DESCRIPTOR = "WORKERPOOL_LOG_DESCRIPTOR"
READ_AT_ONCE = 65_536


class Process:
    """A started child."""

    def __init__(self, spec: ChildSpec, generation: int, board: Board, environment: Mapping[str, str]) -> None:
        self.spec, self.generation = spec, generation
        self.channel: Channel | None = None
        self.output: int | None = None
        descriptors = [*spec.descriptors]
        variables = {**environment, **spec.environment}
        theirs = None
        if spec.brief is not None:
            self.channel, theirs = channels.pair()
            descriptors += [theirs.fileno(), board.descriptor]
            variables |= {channels.VARIABLE: str(theirs.fileno()), boards.VARIABLE: str(board.descriptor)}
        write_end = log_end = None
        if spec.board_slot is not None:  # a worker: what its handlers write past Python is read here
            self.output, write_end = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self.output, False)
            log_end = os.dup(2)
            descriptors.append(log_end)
            variables[LOG_DESCRIPTOR] = str(log_end)
        try:
            self._popen = subprocess.Popen(
                spec.argv,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=write_end if write_end is not None else None,
                stderr=write_end if write_end is not None else None,
                pass_fds=descriptors,
                close_fds=True,
            )
        finally:
            if theirs is not None:
                theirs.close()
            for end in (write_end, log_end):
                if end is not None:
                    os.close(end)
        self.pid = self._popen.pid
        self.pidfd = os.pidfd_open(self.pid)
        if self.channel is not None and spec.brief is not None:
            self.channel.send("brief", **spec.brief(generation))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone is no error."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def ended(self) -> int | None:
        """Return the exit status (negative: the signal that killed it), or None while it runs."""
        return self._popen.poll()

    def read_output(self) -> bytes:
        """Return what is there of the child's output."""
        if self.output is None:
            return b""
        try:
            return os.read(self.output, READ_AT_ONCE)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close every descriptor of an ended child."""
        os.close(self.pidfd)
        if self.channel is not None:
            self.channel.close()
        if self.output is not None:
            os.close(self.output)
