"""The job as a thing that runs: a worker, its task, and the machinery that joins them.

Owns: the life new, launched, running, done; the result; the completion. Does not own: claiming and settling (the worker
process does), nor ending a task by force: a cancellation is asked for, and never kills.
Invariant: the task runs at most once, and its result is handed over once.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from workerpool import logs
from workerpool.core.errors import Cancelled
from workerpool.job.continuations import CompletionType, Continuations
from workerpool.job.token import CancellationToken

log = logs.get("job")


class Worker(Protocol):
    """Whoever performs tasks; callbacks are told which one it was."""

    @property
    def name(self) -> str:
        """What people call it."""


class WorkerTask(Protocol):
    """What is to be done: a callable, ``def`` or ``async def``, that gets the token and returns the result."""

    def __call__(self, token: CancellationToken, /) -> Any:
        """Do it."""


class Phase(Enum):
    """Where a job is in its life."""

    NEW = "new"
    LAUNCHED = "launched"
    RUNNING = "running"
    DONE = "done"


class WrongPhase(RuntimeError):
    """Something was asked of a job that it cannot do any more, or not yet."""

    def __init__(self, asked: str, phase: Phase, hint: str) -> None:
        self.asked, self.phase = asked, phase
        super().__init__(f"{asked}: the job is {phase.value}; {hint}")


class StillRunning(TimeoutError):
    """A job has not ended in the time that was given."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"the job still runs after {seconds:g} s")


class WorkerJob:
    """One task, to be run once."""

    __slots__ = (
        "_error",
        "_lock",
        "_over",
        "_phase",
        "_result",
        "_waited",
        "continuations",
        "token",
        "worker",
        "worker_task",
    )

    def __init__(
        self,
        worker: Worker | None,
        worker_task: WorkerTask,
        cancellation_token: CancellationToken | None = None,
        *,
        continuations: Continuations | None = None,
    ) -> None:
        self.worker, self.worker_task = worker, worker_task
        self.token = cancellation_token if cancellation_token is not None else CancellationToken()
        self.continuations = continuations if continuations is not None else Continuations()
        self._lock = threading.Lock()
        self._over: threading.Event | None = None
        self._phase = Phase.NEW
        self._waited = False
        self._result: Any = None
        self._error: BaseException | None = None

    @property
    def phase(self) -> Phase:
        """Return where the job is in its life."""
        return self._phase

    def launch(self) -> None:
        """Run the task on a thread of its own; an ``async def`` task in an event loop there. Raises WrongPhase."""
        self._leave_new("launch")
        threading.Thread(target=self._run, args=(None,), name="job", daemon=True).start()

    def run(self, runner: asyncio.Runner | None = None) -> None:
        """Run the task on this thread, to its end; *runner* is the event loop for an ``async def`` one.

        What the task raises is kept for ``wait``. Raises WrongPhase.
        """
        self._leave_new("run")
        self._run(runner)

    def cancel(self, reason: str = "asked to stop") -> bool:
        """Ask the task to stop; False where somebody did before, or the job is done. Nothing is killed."""
        return self._phase is not Phase.DONE and self.token.cancel(reason)

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the end, at most *timeout* seconds, and return the task's result or raise its error; once.

        Raises WrongPhase before the launch and the second time, StillRunning.
        """
        with self._lock:
            if self._phase is Phase.NEW:
                raise WrongPhase("wait", self._phase, "launch it first")
            if self._waited:
                raise WrongPhase("wait", self._phase, "its result was handed over already")
            if self._phase is not Phase.DONE and self._over is None:
                self._over = threading.Event()
            over = self._over
        if over is not None and not over.wait(timeout):
            raise StillRunning(timeout or 0.0)
        with self._lock:
            if self._waited:
                raise WrongPhase("wait", self._phase, "its result was handed over already")
            self._waited = True
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._result

    async def wait_async(self, timeout: float | None = None) -> Any:
        """As ``wait``, in an event loop."""
        return await asyncio.to_thread(self.wait, timeout)

    def _leave_new(self, asked: str) -> None:
        with self._lock:
            if self._phase is not Phase.NEW:
                raise WrongPhase(asked, self._phase, "a job runs once; make another")
            self._phase = Phase.LAUNCHED

    def _run(self, runner: asyncio.Runner | None) -> None:
        self._phase = Phase.RUNNING
        try:
            self._result = self._perform(runner)
        except BaseException as error:
            self._error = error
        with self._lock:
            self._phase = Phase.DONE
            over = self._over
        completion = self.continuations.complete(self._error, self.worker, self.token)
        if completion is CompletionType.NORMAL and self.token.cancelled:
            log.info("cancel.ignored", why=self.token.reason)
        if over is not None:
            over.set()

    def _perform(self, runner: asyncio.Runner | None) -> Any:
        answer = self.worker_task(self.token)
        if not inspect.iscoroutine(answer):
            return answer
        if runner is not None:
            result, error = runner.run(_follow(answer, self.token))
        else:
            with asyncio.Runner() as own:
                result, error = own.run(_follow(answer, self.token))
        if error is not None:
            raise error
        return result


async def _follow(coroutine: Any, token: CancellationToken) -> tuple[Any, BaseException | None]:
    """Run *coroutine*; a cancelled token ends its next await.

    Whatever it raises is kept from the event loop, which an exit or an interrupt would break off.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    remove: Callable[[], None] = token.on_cancel(lambda _: loop.call_soon_threadsafe(task.cancel))
    try:
        return await coroutine, None
    except asyncio.CancelledError as error:
        task.uncancel()
        return None, Cancelled(token.reason or "asked to stop") if token.cancelled else error
    except BaseException as error:
        return None, error
    finally:
        remove()
