"""The handlers of the race for an attempt's end: each takes a time that its payload says, and is then over."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from tests.process.pool_handlers import note
from workerpool import Job, handler
from workerpool.core.errors import Fail
from workerpool.core.retry import Backoff

BRISK = Backoff(timedelta(milliseconds=20), cap=timedelta(milliseconds=50))


@handler("race", max_attempts=100, backoff=BRISK)
def race(job: Job) -> dict[str, Any]:
    """Take payload.seconds, and look at the token all the time if payload.looks; fail at the end if payload.fails."""
    note("begin", job)
    end = time.monotonic() + job.payload["seconds"]
    while (left := end - time.monotonic()) > 0:
        if job.payload.get("looks"):
            job.checkpoint()
        time.sleep(min(0.002, left))
    note("end", job)
    if job.payload.get("fails"):
        raise Fail("as asked")
    return {"attempt": job.attempt}


@handler("last words", max_attempts=2, backoff=BRISK)
def last_words(job: Job) -> None:
    """Say something, and fail at once."""
    job.log.info(f"the words of attempt {job.attempt}")
    raise ValueError("as asked")
