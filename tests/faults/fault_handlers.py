"""The handler of the fault tests: an effect inside the fence, an effect outside of it, and every way to end."""

from __future__ import annotations

import os
import random
import time
from typing import Any

from workerpool import Job, handler
from workerpool.core.errors import Fail

#: Seconds between two signs of life in the journal.
BEAT = 0.1

EFFECT = """
INSERT INTO public.effects (revision, item, attempt, place)
SELECT %(revision)s, %(item)s, %(attempt)s, 1 + count(*) FROM public.effects WHERE item = %(item)s
"""


def note(word: str, job: Job) -> None:
    """Append one line to the journal, whole: the effect on the world outside, which nothing can fence."""
    text = f"{word} {job.id} {job.attempt} {os.getpid()} {time.monotonic()} {job.item_key}"
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode() + b"\n")
    os.close(descriptor)


@handler("mark", max_attempts=1000)
def mark(job: Job) -> dict[str, Any]:
    """Take payload.seconds, then write an effect that commits with the outcome; payload.errors is the chance to raise
    instead, payload.fails that of an end for good.
    """
    note("begin", job)
    try:
        deadline = time.monotonic() + job.payload.get("seconds", 0)
        said = time.monotonic()
        while time.monotonic() < deadline:
            if time.monotonic() > said + BEAT:
                said = time.monotonic()
                note("alive", job)
            job.checkpoint()
            time.sleep(min(0.02, max(0.0, deadline - time.monotonic())))
        drawn = random.random()
        if drawn < job.payload.get("errors", 0):
            raise RuntimeError("as asked")
        if drawn > 1 - job.payload.get("fails", 0):
            raise Fail("as asked")
        with job.transaction() as connection:
            connection.execute(EFFECT, {"revision": job.id, "item": job.item_key, "attempt": job.attempt})
    finally:
        note("end", job)
    return {"attempt": job.attempt}


@handler("mark_outside", max_attempts=1000)
def mark_outside(job: Job) -> dict[str, Any]:
    """Complete without a transaction: the outcome is written by the loop."""
    note("begin", job)
    note("end", job)
    return {"attempt": job.attempt}
