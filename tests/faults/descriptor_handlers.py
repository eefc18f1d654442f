"""Handlers that start programs past Python, that fork, and that keep what they open."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workerpool import Job, handler

#: Seconds that a fork may take for a few words.
WORDS_TAKE = 10.0
KEPT: list[int] = []


def _spawned() -> int:
    return os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)


def _forked() -> int:
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["sleep", "60"])
    return pid


def _by_shell() -> int:
    """What os.system does, and a library of C that calls system(3)."""
    ctypes.CDLL(None).system(b'sleep 60 & echo $! > "$SLEEPS"')
    with open(os.environ["SLEEPS"], encoding="ascii") as file:
        return int(file.read())


def _by_subprocess() -> int:
    return subprocess.Popen(["sleep", "60"]).pid


STARTS: dict[str, Callable[[], int]] = {
    "posix_spawn": _spawned,
    "fork and exec": _forked,
    "system": _by_shell,
    "subprocess": _by_subprocess,
}


@handler("start", max_attempts=1)
def start(job: Job) -> dict[str, Any]:
    """Start a program in the way payload.how, with a transaction open, and look at what it has open."""
    os.environ["SLEEPS"] = f"{os.environ['JOURNAL']}.sleeps"
    with job.transaction() as connection:
        connection.execute("SELECT 1")
        pid = STARTS[job.payload["how"]]()
        deadline = time.monotonic() + WORDS_TAKE
        while b"sleep" not in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[0]:  # noqa: SIM115
            if time.monotonic() > deadline:
                raise TimeoutError("it does not become the program")
            time.sleep(0.01)
        found = _descriptors(pid)
        os.kill(pid, signal.SIGKILL)
    return {"descriptors": found}


def _descriptors(pid: int) -> dict[str, str]:
    """What a process has open for longer than a moment: a program that starts opens its libraries, and closes them."""
    before: dict[str, str] | None = None
    while True:
        found = {}
        for each in sorted(os.listdir(f"/proc/{pid}/fd")):
            with contextlib.suppress(FileNotFoundError):
                found[each] = os.readlink(f"/proc/{pid}/fd/{each}")
        if found == before:
            return found
        before = found
        time.sleep(0.1)


@handler("talkative forks", max_attempts=1)
def talkative_forks(job: Job) -> dict[str, Any]:
    """Fork payload.forks times while threads write logs as fast as they can; each fork says a few words."""
    over = threading.Event()
    logger = logging.getLogger("handler")

    def hammer() -> None:
        while not over.is_set():
            job.progress(50, "a thread")
            logger.warning("a thread")

    threads = [threading.Thread(target=hammer, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    forks = []
    try:
        for number in range(job.payload["forks"]):
            pid = os.fork()
            if pid == 0:
                job.progress(60, "a fork")
                job.log.info("a fork")
                logger.warning("a fork")
                print(f"words of fork {number}", flush=True)
                os._exit(0)
            forks.append(pid)
    finally:
        over.set()
    return {"hung": _reap(forks)}


def _reap(forks: list[int]) -> int:
    """Wait for forks; those that hang are killed. Returns how many did."""
    deadline, hung = time.monotonic() + WORDS_TAKE, 0
    for pid in forks:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                hung += 1
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.005)
    return hung


@handler("hoard", max_attempts=5)
def hoard(job: Job) -> dict[str, Any]:
    """In the first process that runs it open files until no more may be opened, and keep them; then do as asked."""
    hoarded = Path(f"{os.environ['JOURNAL']}.hoarded{job.id}")
    if not hoarded.exists():
        hoarded.touch()
        limit = len(os.listdir("/proc/self/fd")) + 40
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        with contextlib.suppress(OSError):
            while True:
                KEPT.append(os.open("/dev/null", os.O_RDONLY))
    match job.payload["then"]:
        case "transaction":
            with job.transaction() as connection:
                connection.execute("SELECT 1")
        case "open":
            os.close(os.open("/dev/null", os.O_RDONLY))
    return {"attempt": job.attempt}
