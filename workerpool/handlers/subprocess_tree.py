"""All processes that one command started, and their end.

Owns the finding and killing of a command's processes: those in its session, those that carry its mark in their
environment (double-forked, `setsid`), those whose parents are such, and orphans that the kernel gave to this process.
It does not start the command and does not judge its exit. This process must have become the parent of its orphans
(`link.tether.adopt_orphans`); what is left when this process itself is killed is found by `link.tether.sweep`.

Invariant: only processes of this tree are signalled or reaped. Its leader stays unreaped until the tree is gone, so
its pid, which names the session and the group, cannot be another's; every other process is signalled through a
pidfd whose start time was compared. Other children of this process keep their exit status.

/proc is read directly: one pass gives parent, session, start time and state of all processes together.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MARK = "WORKERPOOL_REVISION_RUN"
_CHASE_ROUNDS = 200
# Leaders of all trees of this process: one tree must not take another's leader for its own orphan.
_leaders: set[int] = set()


@dataclass(frozen=True, slots=True)
class ProcessFact:
    """One process as /proc shows it; `started` is in clock ticks since boot."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    started: int

    @property
    def is_dead(self) -> bool:
        return self.state in "ZX"


def read_process(pid: int) -> ProcessFact | None:
    """Return the fact of one process, None when there is none."""
    try:
        content = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name stands in parentheses and may itself contain blanks and parentheses.
    opening, closing = content.find(b"("), content.rfind(b")")
    fields = content[closing + 2 :].split()
    name = content[opening + 1 : closing].decode("utf-8", "replace")
    return ProcessFact(pid, name, fields[0].decode(), *map(int, (*fields[1:4], fields[19])))


def read_processes() -> dict[int, ProcessFact]:
    """Return the facts of all processes that are visible."""
    facts = (read_process(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return {fact.pid: fact for fact in facts if fact is not None}


def read_mark(pid: int) -> str | None:
    """Return the value of MARK in the environment with which a process was executed, None without one."""
    try:
        content = b"\0" + _read(f"/proc/{pid}/environ")
    except OSError:
        return None
    start = content.find(f"\0{MARK}=".encode())
    if start < 0:
        return None
    return content[start + len(MARK) + 2 :].split(b"\0", 1)[0].decode("utf-8", "replace")


def send_signal(fact: ProcessFact, number: int) -> None:
    """Signal exactly this process; nothing happens when it is gone or belongs to another user."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            handle = os.pidfd_open(fact.pid)
        except ProcessLookupError:
            return
        except OSError:
            # Old container runtimes refuse pidfds.
            os.kill(fact.pid, number)
            return
        try:
            now = read_process(fact.pid)
            if now is not None and now.started == fact.started:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


class ProcessTree:
    """The processes of one run, from the start of its leader until `close`.

    `mark` is the value of MARK in the leader's environment, `elders` what `children_of_this_process` said before the
    leader was started.
    """

    def __init__(self, leader: int, mark: str, elders: Iterable[tuple[int, int]]) -> None:
        self.leader = leader
        self._mark = mark
        self._elders = frozenset(elders)
        self._worker = os.getpid()
        self._worker_session = os.getsid(0)
        fact = read_process(leader)
        self._since = fact.started if fact else 0
        _leaders.add(leader)

    def close(self) -> None:
        """Forget the leader, after it was reaped."""
        _leaders.discard(self.leader)

    def living(self) -> list[ProcessFact]:
        """Return the processes of the tree that live, and reap those of its dead that the kernel gave to us."""
        return self._look()[0]

    def members(self, facts: Mapping[int, ProcessFact]) -> list[ProcessFact]:
        """Return those of `facts` that belong to the tree, dead ones too."""
        young = [fact for fact in facts.values() if fact.started >= self._since and fact.pid != self._worker]
        found = {fact.pid: fact for fact in young if self._is_root(fact)}
        grown = bool(found)
        while grown:
            children = {fact.pid: fact for fact in young if fact.parent in found and fact.pid not in found}
            found.update(children)
            grown = bool(children)
        return list(found.values())

    def signal(self, number: int) -> None:
        """Send a signal to every process of the tree, the leader's group at once."""
        self._send(self.living(), number)

    def kill(self, *, seconds: float) -> list[ProcessFact]:
        """Kill until none lives; returns those that still lived after `seconds`."""
        deadline, pause = time.monotonic() + seconds, 0.001
        while True:
            living, reaped = self._look()
            if not living and not reaped:
                return []
            if time.monotonic() >= deadline:
                return living
            self._send(living, signal.SIGKILL)
            if reaped:
                self._chase()
            else:
                time.sleep(pause)
                pause = min(pause * 2, 0.05)

    def _chase(self) -> None:
        """Kill a process that forks and exits faster than all of /proc can be read: its next life is our child."""
        for _ in range(_CHASE_ROUNDS):
            orphans = [fact for pid in _child_pids() if (fact := read_process(pid)) and fact.pid != self.leader]
            ours = [fact for fact in orphans if fact.started >= self._since and self._is_root(fact)]
            for fact in ours:
                if fact.is_dead:
                    _reap(fact.pid)
                else:
                    send_signal(fact, signal.SIGKILL)
            if not ours:
                return

    def _look(self) -> tuple[list[ProcessFact], int]:
        """Return the living and how many dead were reaped."""
        living, reaped = [], 0
        for fact in self.members(read_processes()):
            if not fact.is_dead:
                living.append(fact)
            elif fact.parent == self._worker and fact.pid != self.leader:
                reaped += _reap(fact.pid)
        return living, reaped

    def _send(self, apart: list[ProcessFact], number: int) -> None:
        leader = read_process(self.leader)
        # Without the leader (somebody else reaped it) the number may already name another's group.
        if leader is not None and leader.started == self._since:
            apart = [fact for fact in apart if fact.group != self.leader]
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader, number)
        for fact in apart:
            send_signal(fact, number)

    def _is_root(self, fact: ProcessFact) -> bool:
        if fact.session == self.leader:
            return True
        if fact.session in _leaders:
            return False
        mark = read_mark(fact.pid)
        if mark is not None:
            return mark == self._mark
        # An orphan that has cleared its environment and made a session of its own. A worker's other children either
        # were there before or live in the worker's session.
        is_adopted = fact.parent == self._worker and fact.session != self._worker_session
        return is_adopted and (fact.pid, fact.started) not in self._elders


def children_of_this_process() -> list[tuple[int, int]]:
    """Return pid and start time of every child that this process has now."""
    facts = map(read_process, _child_pids())
    return [(fact.pid, fact.started) for fact in facts if fact is not None]


def _child_pids() -> list[int]:
    try:
        found = []
        for thread in os.listdir("/proc/self/task"):
            found += [int(pid) for pid in _read(f"/proc/self/task/{thread}/children").split()]
        return found
    except OSError:
        # A thread has just ended, or the kernel has no such file.
        return [fact.pid for fact in read_processes().values() if fact.parent == os.getpid()]


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _read(path: str) -> bytes:
    # Plain descriptors: a file object costs four times as much, and /proc has a file for each process.
    handle = os.open(path, os.O_RDONLY)
    try:
        content = os.read(handle, 65536)
        while more := os.read(handle, 65536):
            content += more
        return content
    finally:
        os.close(handle)
