"""Handlers that say how often they are tried, on one host alone: whoever rescues what they ran has none of them."""

from __future__ import annotations

import os
import time
from typing import Any

from workerpool import Job, handler


def run(job: Job) -> dict[str, Any]:
    """Note the begin, and take payload.seconds."""
    text = f"begin {job.id} {job.attempt} {os.getpid()} {time.monotonic()}\n"
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode())
    os.close(descriptor)
    deadline = time.monotonic() + job.payload.get("seconds", 0)
    while time.monotonic() < deadline:
        job.checkpoint()
        time.sleep(0.01)
    return {"attempt": job.attempt}


@handler("once", max_attempts=1)
def once(job: Job) -> dict[str, Any]:
    """Is never tried again."""
    return run(job)


@handler("often", max_attempts=5)
def often(job: Job) -> dict[str, Any]:
    """Is tried five times."""
    return run(job)


@handler("silent")
def silent(job: Job) -> dict[str, Any]:
    """Does not say."""
    return run(job)
