"""Handlers that return files."""

from __future__ import annotations

from pathlib import Path

from workerpool import Job, handler
from workerpool.job.result import TaskResult


@handler("draw", max_attempts=2)
def draw(job: Job) -> TaskResult:
    """Keep a file; name one that is missing at the first attempt of those that ask for it."""
    made = Path(f"made-{job.id}")
    made.write_text(f"attempt {job.attempt}")
    kept = job.keep_artifact(made, "made")
    made.unlink()
    more = ["missing.png"] if job.attempt <= job.payload.get("missing", 0) else []
    return TaskResult(summary="drawn", artifacts=[kept, *more], metrics={"requestCount": 1})
