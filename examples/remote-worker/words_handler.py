"""The handler of the example, as a module: the pool's own workers and remote ones perform it alike.

In the pool:           WORKERPOOL_HANDLERS=words_handler.py workerpool start
On another machine:    python -m workerpool.remote --url http://127.0.0.1:3031 --handlers words_handler.py
"""

from __future__ import annotations

import time
from typing import Any

from workerpool import Job, handler


@handler("words", timeout=600, max_attempts=3)
def words(job: Job) -> dict[str, Any]:
    """Count the words of payload.text, in payload.rounds steps of a second, with a checkpoint before each."""
    rounds = int(job.payload.get("rounds", 3))
    for number in range(rounds):
        job.checkpoint()
        job.progress(100 * number / rounds, f"round {number + 1} of {rounds}", total_steps=rounds)
        time.sleep(1)
    job.checkpoint()
    count = len(str(job.payload.get("text", "")).split())
    job.log.info("counted", words=count)
    return {"summary": f"{count} words", "output": {"words": count}}
