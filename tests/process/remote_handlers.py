"""The handlers of remote workers under test: none of a pool's, so that nobody else claims them."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from typing import Any

from tests.process.pool_handlers import note
from workerpool import Backoff, Cancelled, Fail, Job, Retry, Snooze, handler

SOON = Backoff(timedelta(milliseconds=10), cap=timedelta(milliseconds=20))


@handler("far steps", max_attempts=5, backoff=SOON)
def steps(job: Job) -> dict[str, Any]:
    """Take payload.steps steps of payload.seconds each, with a checkpoint after each."""
    note("begin", job)
    for number in range(job.payload["steps"]):
        time.sleep(job.payload.get("seconds", 0.05))
        note("step", job, number)
        job.checkpoint()
    note("end", job)
    return {"attempt": job.attempt}


@handler("far stubborn", timeout=1, max_attempts=1)
def stubborn(job: Job) -> None:
    """Ignore everything that can be ignored, for payload.seconds."""
    note("begin", job)
    time.sleep(job.payload.get("seconds", 1000))
    note("end", job)


@handler("far patient", timeout=0.5, max_attempts=1)
def patient(job: Job) -> None:
    """Check often whether to go on, for ever."""
    while True:
        job.checkpoint()
        time.sleep(0.01)


@handler("far about", max_attempts=7)
def about(job: Job) -> dict[str, Any]:
    """Return what a handler knows of its job, having said something."""
    job.progress(40, "looking around", total_steps=2)
    job.log.info("some words", number=1)
    job.log.warning("", strange=float("nan"))
    job.log.error("nul \x00 and surrogate \ud800", text="a\x00b")
    known = {name: getattr(job, name) for name in ("id", "item_key", "handler", "attempt", "fence", "max_attempts")}
    more = {name: getattr(job, name) for name in ("payload", "base", "metadata", "idempotency_key")}
    token = os.environ.get("WORKERPOOL_REMOTE_TOKEN")
    return {**known, **more, "token": token}


@handler("far async")
async def waiting(job: Job) -> dict[str, Any]:
    """Wait in an event loop, for payload.seconds."""
    note("begin", job)
    await asyncio.sleep(job.payload["seconds"])
    return {"waited": job.payload["seconds"]}


@handler("far ends", max_attempts=2, backoff=SOON)
def ends(job: Job) -> Any:
    """End as payload.how says, the first time."""
    how = job.payload["how"]
    if job.attempt > 1 or "again" in (job.metadata or {}):
        return {"attempt": job.attempt}
    if how == "retry":
        raise Retry(after=0.01)
    if how == "snooze":
        snoozed = job.log.info("snoozed") or os.path.exists(job.payload["file"])
        open(job.payload["file"], "w").close()
        if not snoozed:
            raise Snooze(timedelta(seconds=0.3), "not yet")
        return {"attempt": job.attempt}
    if how == "fail":
        raise Fail("no hope", "invalid_payload")
    if how == "cancelled":
        raise Cancelled("of its own accord")
    if how == "not json":
        return {"value": object()}
    if how == "nul":
        return {"text": "a\x00b"}
    if how == "surrogate":
        return {"text": "a\ud800b"}
    if how == "large":
        return {"text": "x" * (17 << 20)}
    raise ValueError("an ordinary error")


@handler("far database", max_attempts=5)
def database(job: Job) -> None:
    """Ask for what only the database has, as payload.what says."""
    match job.payload["what"]:
        case "transaction":
            with job.transaction():
                pass
        case "then":
            job.then("other")
        case "result_of":
            job.result_of(0)
        case "keep_artifact":
            job.keep_artifact(__file__)


@handler("far talk")
def talk(job: Job) -> dict[str, Any]:
    """Write payload.lines lines, and call back when it is done."""
    job.on_complete("note", lambda worker, kind, error: note("callback", job, kind.value))
    for number in range(job.payload["lines"]):
        job.log.info(f"line {number}")
    return {}
