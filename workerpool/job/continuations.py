"""What is to happen when a job is done: callbacks, each exactly once.

Owns: the state of completion and the callbacks. Does not own: what is enqueued when a revision ends (``Job.then``,
which survives crashes; these do not). Invariant: the change of state and the taking of all callbacks are one step under
one lock, so whoever adds a callback either is in that step or finds the job done; none is lost, none runs twice. A
callback never runs on the thread that completes: it may take as long as it likes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from enum import Enum

from workerpool import logs
from workerpool.core.errors import Cancelled, message_of
from workerpool.job.token import CancellationToken

log = logs.get("job")


class JobState(Enum):
    """Whether a job may still change."""

    RUNNING = "running"
    DONE = "done"


class CompletionType(Enum):
    """How a job ended."""

    NORMAL = "normal"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Added(Enum):
    """What became of a callback that was added."""

    REGISTERED = "registered"
    REPLACED = "replaced"
    """Another one had the same key, and will not run."""
    RUN_NOW = "run now"
    """The job was done."""


Callback = Callable[[object, CompletionType, "str | None"], object]


class CompletedTwice(RuntimeError):
    """A job is completed once."""

    def __init__(self, completion: CompletionType) -> None:
        self.completion = completion
        super().__init__(f"the job is done already ({completion.value}): it completes once")


_threads: set[threading.Thread] = set()
_threads_lock = threading.Lock()


def wait_for_callbacks(timeout: float) -> bool:
    """Wait until every callback that was begun in this process is over, at most *timeout* seconds; tells whether."""
    deadline = time.monotonic() + timeout
    with _threads_lock:
        threads = list(_threads)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


class Continuations:
    """The callbacks of one job."""

    __slots__ = ("_callbacks", "_completion", "_error", "_lock", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """*loop*: where callbacks run; without one they run on a thread of their own."""
        self._lock = threading.Lock()
        self._loop = loop
        self._completion: CompletionType | None = None
        self._error: str | None = None
        self._callbacks: dict[str, tuple[Callback, object]] = {}

    @property
    def state(self) -> JobState:
        """Tell whether the job is done."""
        return JobState.RUNNING if self._completion is None else JobState.DONE

    @property
    def completion(self) -> CompletionType | None:
        """Return how the job ended, None while it runs."""
        return self._completion

    def add_or_run_now(self, key: str, callback: Callback, worker: object = None) -> Added:
        """Have *callback* called with (worker, completion type, error message) when the job is done.

        If it is done it is called now, on another thread. A callback with a *key* that is there takes the other's
        place. *worker*: what the callback gets as its first argument, unless ``complete`` names one.
        """
        with self._lock:
            if self._completion is None:
                replaced = key in self._callbacks
                self._callbacks[key] = (callback, worker)
                return Added.REPLACED if replaced else Added.REGISTERED
            completion, error = self._completion, self._error
        self._dispatch([(key, callback, worker)], completion, error)
        return Added.RUN_NOW

    def complete(
        self, error: BaseException | str | None, worker: object = None, token: CancellationToken | None = None
    ) -> CompletionType:
        """End the job and have every callback called; returns how it ended.

        Without an *error* the end is NORMAL, whatever was asked of *token*; with one it is CANCELLED where *token* is
        cancelled, or the error is a Cancelled, else FAILED. Raises CompletedTwice.
        """
        completion = _completion_of(error, token)
        message = message_of(error) if isinstance(error, BaseException) else error
        with self._lock:
            if self._completion is not None:
                raise CompletedTwice(self._completion)
            self._completion, self._error = completion, message
            taken, self._callbacks = self._callbacks, {}
        if taken:
            calls = [(key, callback, worker if worker is not None else own) for key, (callback, own) in taken.items()]
            self._dispatch(calls, completion, message)
        return completion

    def _dispatch(
        self, calls: list[tuple[str, Callback, object]], completion: CompletionType, error: str | None
    ) -> None:
        def run() -> None:
            for key, callback, worker in calls:
                try:
                    callback(worker, completion, error)
                except BaseException as problem:
                    log.error("callback.failed", what=key, error=repr(problem), exc_info=problem)

        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(run)
                return
            except RuntimeError:
                log.warning("callback.failed", what="event loop", error="it is closed; a thread runs the callbacks")
        _on_a_thread(run)


def _completion_of(error: BaseException | str | None, token: CancellationToken | None) -> CompletionType:
    if error is None:
        return CompletionType.NORMAL
    # As in the table: what was to be cancelled and did not succeed is cancelled, whatever it ended with.
    if isinstance(error, Cancelled) or (token is not None and token.cancelled):
        return CompletionType.CANCELLED
    return CompletionType.FAILED


def _on_a_thread(run: Callable[[], None]) -> None:
    def body() -> None:
        try:
            run()
        finally:
            with _threads_lock:
                _threads.discard(thread)

    thread = threading.Thread(target=body, name="continuations", daemon=True)
    with _threads_lock:
        _threads.add(thread)
    thread.start()
