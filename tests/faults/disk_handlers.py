"""Handlers that meet full disks: one that talks and ends, one that writes, one that keeps a file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from workerpool import Job, handler


def note(word: str, job: Job) -> None:
    """Append one line to the journal, whole."""
    text = f"{word} {job.id} {job.attempt} {os.getpid()} {time.monotonic()} {job.item_key}\n"
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode())
    os.close(descriptor)


@handler("talk", max_attempts=5)
def talk(job: Job) -> dict[str, Any]:
    """Take payload.seconds, talking; say a last word, and return payload.bytes that no page has room for."""
    note("begin", job)
    deadline = time.monotonic() + job.payload.get("seconds", 0)
    while time.monotonic() < deadline:
        job.log.info("x" * 1000)
        job.checkpoint()
        time.sleep(0.05)
    job.log.info("the last word")
    note("end", job)
    return {"attempt": job.attempt, "much": os.urandom(job.payload.get("bytes", 0)).hex()}


@handler("write", max_attempts=1)
def write(job: Job) -> dict[str, Any]:
    """When the file `go` is there, write 100 KB in the way payload.how."""
    note("begin", job)
    while not (Path(os.environ["JOURNAL"]).parent / "go").exists():
        job.checkpoint()
        time.sleep(0.05)
    much = os.urandom(50_000).hex()
    try:
        match job.payload["how"]:
            case "transaction":
                with job.transaction() as connection:
                    connection.execute("INSERT INTO public.written VALUES (%s)", (much,))
            case "outcome":
                with job.transaction() as connection:
                    connection.execute("SELECT 1")
                return {"much": much}
            case "then":
                job.then("successor", "keep", {"much": much})
    finally:
        note("end", job)
    return {}


@handler("keep")
def keep(job: Job) -> dict[str, Any]:
    """Keep a file of payload.bytes."""
    file = Path(os.environ["JOURNAL"]).parent / f"{job.id}.bin"
    file.write_bytes(os.urandom(job.payload["bytes"]))
    return {"artifacts": [job.keep_artifact(file)]}
