"""The handler of the hosts under test: it says all the time that it runs, so that two that overlap are seen."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from pathlib import Path
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
    return {"attempt": job.attempt, "host": host, "clock": time.time()}


@handler("greedy", max_attempts=50)
def greedy(job: Job) -> dict[str, Any]:
    """Hold the interpreter lock for payload.seconds, and before that note which process of an attempt before lives."""
    host, journal = socket.gethostname(), Path(os.environ["JOURNAL"])
    lines = [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []
    before = {line[3] for line in lines if line[1] == str(job.id)}
    note("begin", job, host, *(pid for pid in before if Path(f"/proc/{pid}/fd/0").exists()))
    ctypes.PyDLL(None).usleep(int(job.payload["seconds"] * 1_000_000))
    note("end", job, host)
    return {"attempt": job.attempt, "host": host}


@handler("books", max_attempts=50)
def books(job: Job) -> dict[str, Any]:
    """Change a row in the transaction of the outcome; the first attempt stays in it for payload.seconds."""
    host = socket.gethostname()
    with job.transaction() as connection:
        connection.execute("UPDATE public.books SET number = number + 1")
        note("begin", job, host)
        if job.attempt == 1:
            time.sleep(job.payload.get("seconds", 0))
    return {"attempt": job.attempt, "host": host}
