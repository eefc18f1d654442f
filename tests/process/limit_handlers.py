"""The handlers that go beyond a limit, each in the way that is hardest to end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

from tests.process.pool_handlers import note
from workerpool import Job, handler

#: A process in a session of its own, which ignores TERM, outlives its parent and holds the worker's output open.
FAR = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(['sleep', '1000'], start_new_session=True, stdout=2).pid)
"""
#: Uses more and more memory, up to what spares the machine of a test that fails.
HOARDER = "import time; hoard = []\nwhile True: hoard.append(b'x' * (1 << 20)) if len(hoard) < 3000 else time.sleep(1)"


@handler("hoard", memory_limit="200MiB")
def hoard(job: Job) -> None:
    """Use more and more memory, in this process or in one of a session of its own."""
    note("begin", job)
    if job.payload.get("child"):
        subprocess.run([sys.executable, "-S", "-c", HOARDER], start_new_session=True, check=True)
    exec(HOARDER, {})


@handler("modest", memory_limit="1GiB", output_limit="1MiB")
def modest(job: Job) -> dict[str, int]:
    """Stay below every limit, for a second."""
    hoarded = b"x" * (64 << 20)
    sys.stdout.write("x" * 500_000)
    os.write(1, b"x" * 1000)
    time.sleep(1.0)
    return {"bytes": len(hoarded)}


@handler("lock", timeout=1)
def lock(job: Job) -> None:
    """Hold the interpreter lock in one call of C, for ever."""
    note("begin", job)
    re.match(r"(a+)+$", "a" * 60 + "b")


@handler("deaf", timeout=1)
def deaf(job: Job) -> None:
    """Ignore TERM and every exception, with a grandchild far away that does the same."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    far = subprocess.run([sys.executable, "-S", "-c", FAR], stdout=subprocess.PIPE, check=True, text=True)
    note("far", job, far.stdout.strip())
    note("begin", job)
    while True:
        with contextlib.suppress(BaseException):
            job.checkpoint()
            time.sleep(0.05)


@handler("print")
def print_much(job: Job) -> dict[str, int]:
    """Print 1 GB, or payload.bytes, as payload.how says; with payload.swallow no exception hinders it."""
    note("begin", job)
    line = "x" * 1023 + "\n"
    refused = 0
    for _ in range(job.payload.get("bytes", 1_000_000_000) // len(line) // 64):
        try:
            match job.payload["how"]:
                case "print":
                    print(line * 64, end="")
                case "both":
                    print(line * 32, end="", file=sys.stderr)
                    print(line * 32, end="")
                case "descriptor":
                    os.write(1, line.encode() * 64)
        except Exception:
            refused += 1
            if not job.payload.get("swallow"):
                raise
    return {"refused": refused}
