"""A provider that is busy: asked again within the attempt, as it says itself.

Owns: which answers are tried again here, how often, and how long is waited. Does not own: what is tried again by the
pool (``verdicts``). Invariant: a wait is a checkpoint, so nobody waits for it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, NoReturn

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelRateLimitError,
    ModelServerError,
    ModelUnavailableError,
    RetryModelRequest,
)

from workerpool.job.job import Job

#: Requests for one answer.
TRIES = 4
#: Seconds before the second one where the provider says nothing; doubled each time, with up to as much again by chance.
FIRST = 0.5
#: Seconds that are waited within an attempt; a provider that wants more gets them between two attempts.
MOST = 60.0
#: Seconds between two checkpoints while waiting.
STEP = 0.25
BUSY = (ModelRateLimitError, ModelServerError, ModelUnavailableError)


class Patience:
    """Counts the requests that failed, and waits before the next."""

    def __init__(self, job: Job | None) -> None:
        self._job = job
        self.failed = 0
        """Requests that brought nothing."""

    async def asked_in_vain(self, _context: Any, *, request_context: Any, error: Exception) -> NoReturn:
        """Have the request sent again after a wait, or raise *error*: the hook of pydantic-ai."""
        self.failed += 1
        if not isinstance(error, BUSY) or request_context.attempt >= TRIES:
            raise error
        wait = self._wait(error, request_context.attempt)
        if wait > MOST:
            raise error
        if self._job is not None:
            status = getattr(error, "status_code", None) or "that it is busy"
            self._job.log.warning(f"the provider answered {status}; asking again in {wait:.1f} s", wait=round(wait, 3))
        await self._pass(wait)
        raise RetryModelRequest

    def _wait(self, error: ModelAPIError, attempt: int) -> float:
        if error.retry_after is not None:
            return max(0.0, error.retry_after)
        doubled: float = FIRST * 2 ** (attempt - 1)
        return doubled * (1 + random.random())

    async def _pass(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            await asyncio.sleep(min(left, STEP))
            if self._job is not None:
                self._job.checkpoint()
