"""What ties a child to its manager, and finds what was left behind (R26).

Owns: the death signal, the marks in the environment, and the sweep by mark. Invariant: only processes that carry a
mark of ours in
their environment are ended, through a pidfd, so that a reused pid is never hit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

RUN = "WORKERPOOL_RUN"
WORKER = "WORKERPOOL_WORKER"
#: What a worker adds to its size, in thousandths of all memory, where the kernel looks for whom to kill.
VICTIM = 300
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its creator dies; exits at once if *parent* is gone already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant, so that none of them escapes a sweep."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def be_first_victim() -> None:
    """Let the kernel take this process, or one that it starts, before others of the pool, where memory runs out."""
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        if int(score.read_text()) < VICTIM:
            score.write_text(str(VICTIM))


def marked(variable: str, value: str) -> list[int]:
    """Return the pids of all other processes whose environment holds ``variable=value``."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def sweep(variable: str, value: str, *, spare: frozenset[int] = frozenset(), seconds: float = 2.0) -> int:
    """Kill every process that carries the mark, again until none is left or *seconds* are over.

    Returns how many were found.
    """
    deadline, killed = time.monotonic() + seconds, set()
    while True:
        pids = [pid for pid in marked(variable, value) if pid not in spare]
        for pid in pids:
            killed.add(pid)
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(pid)
                try:
                    if pid in marked_among((pid,), variable, value):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
        if not pids or time.monotonic() > deadline:
            return len(killed)
        time.sleep(0.01)


def reap_strangers(own: frozenset[int]) -> None:
    """Reap dead processes that the kernel gave to this one (as the first process of a container), never *own*."""
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None or dead.si_pid in own:
            return
        os.waitpid(dead.si_pid, os.WNOHANG)


def outlive(parent: int, then: Callable[[], object]) -> None:
    """Call *then*, on a thread of its own, when *parent* is dead, whatever this process is waiting for."""
    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        then()
        return

    def watch() -> None:
        select.select([handle], [], [])
        then()

    threading.Thread(target=watch, name="outlive", daemon=True).start()


def marked_among(pids: tuple[int, ...], variable: str, value: str) -> list[int]:
    """Return those of *pids* that carry the mark now."""
    wanted = f"{variable}={value}".encode()
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def is_stopped(pid: int) -> bool:
    """Tell whether the process is stopped by a signal or a debugger, or dead and not yet reaped (R20)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in {"T", "t", "Z", "X"}
