"""The handler of the hosts under test: it says all the time that it runs, so that two that overlap are seen."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from workerpool import Job, handler

#: Seconds between two signs of life in the journal.
BEAT = 0.01


def note(word: str, job: Job, *more: object) -> None:
    """Append one line to the journal that all hosts share, whole."""
    text = " ".join(map(str, (word, job.id, job.attempt, os.getpid(), time.monotonic(), *more)))
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode() + b"\n")
    os.close(descriptor)


@handler("alive", max_attempts=50)
def alive(job: Job) -> dict[str, Any]:
    """Run for payload.seconds and ask nobody whether to go on; with payload.talks, tell the database of it too."""
    host = socket.gethostname()
    note("begin", job, host)
    deadline = time.monotonic() + job.payload["seconds"]
    while time.monotonic() < deadline:
        note("alive", job, host)
        if job.payload.get("talks"):
            job.progress(50, f"attempt {job.attempt} on {host}")
            job.log.info(f"attempt {job.attempt} on {host}")
        time.sleep(BEAT)
    note("end", job, host)
    return {"attempt": job.attempt, "host": host}
