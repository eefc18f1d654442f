"""A program's own background loops, which give way to a pause.

Owns: the thread of a loop, its token, its failures. Does not own: what a step does. Invariant: outside of a wait in
``check_pause`` the thread of a running loop holds an active token, so the proof of a safe state counts it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from workerpool import logs
from workerpool.core.durations import as_length
from workerpool.core.errors import message_of
from workerpool.tokens.token import WorkToken

log = logs.get("tokens")
#: The longest wait, in seconds, after failures in a row; and between two looks at the pause while a loop rests.
LONGEST, LOOK = 60.0, 0.1


class TasksBusy(TimeoutError):
    """Tasks did not give way in time; `names` says which."""

    def __init__(self, names: list[str], waited: timedelta) -> None:
        self.names = names
        super().__init__(f"not paused after {waited.total_seconds():g} s: {', '.join(names)}")


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A task as it was when it was looked at; `failures` are those in a row."""

    name: str
    running: bool
    paused: bool
    steps: int
    failures: int
    last_error: str | None


class PausableTask:
    """A loop on a thread of its own: a step, a rest, and again, until it is stopped.

    Give it a callable, or make a class of it with a `run_once`. It holds a token of the kind background_worker.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], object] | None = None,
        interval: timedelta | float = 1.0,
        *,
        url: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Make a task, not yet started. *interval*: from the end of a step to the next, seconds or a timedelta."""
        self.name = name
        self._step = step
        self._interval = (as_length(interval) or timedelta()).total_seconds()
        self._token = WorkToken("background_worker", name=name, url=url, schema=schema)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._steps, self._failures = 0, 0
        self._last_error: str | None = None

    def run_once(self) -> object:
        """Do one step. An exception is logged, and the loop goes on, each time it fails again after a longer rest."""
        if self._step is None:
            raise NotImplementedError(f"{self.name}: give it a step, or define run_once")
        return self._step()

    def start(self) -> None:
        """Start the loop; one that runs goes on as it is."""
        if not self.running:
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._over,), name=self.name, daemon=True)
            self._thread.start()

    def stop(self, timeout: timedelta | float | None = None) -> bool:
        """Let the loop end after its step, wait for that (None: for ever), and tell whether it has ended."""
        self._over.set()
        thread, limit = self._thread, as_length(timeout)
        if thread is not None and thread is not threading.current_thread():
            thread.join(None if limit is None else limit.total_seconds())
        return not self.running

    def pause(self) -> None:
        """Let it wait at its next `check_pause`, until `resume`."""
        self._token.pause()

    def resume(self) -> None:
        """Let it go on, as far as the pool is not paused."""
        self._token.resume()

    def check_pause(self) -> bool:
        """For a step that takes long: wait here while paused. False: the task is to end."""
        return self._token.check_pause(self._over)

    @property
    def running(self) -> bool:
        """Tell whether its loop has begun and not ended."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def paused(self) -> bool:
        """Tell whether its loop waits for a pause to end."""
        return self.running and self._token.paused

    @property
    def status(self) -> TaskStatus:
        """What it does at this moment."""
        return TaskStatus(self.name, self.running, self.paused, self._steps, self._failures, self._last_error)

    def _run(self, over: threading.Event) -> None:
        try:
            while not over.is_set():
                self._rest(self._round(over), over)
        finally:
            self._token.release()

    def _round(self, over: threading.Event) -> float:
        """Do a step, unless it is over, and return how many seconds to rest."""
        try:
            if not self._token.check_pause(over):
                return 0.0
            self.run_once()
        except Exception as error:
            self._failures += 1
            self._last_error = message_of(error)
            log.exception("task.failed", task=self.name, failures=self._failures)
            return min(LONGEST, max(self._interval, 0.5) * 2.0 ** min(self._failures - 1, 10))
        self._steps += 1
        self._failures = 0
        return self._interval

    def _rest(self, seconds: float, over: threading.Event) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not over.wait(min(left, LOOK)):
            try:
                self._token.check_pause(over)
            except Exception:  # the next round meets it again, and says so
                over.wait(max(0.0, until - time.monotonic()))


class PausableTasks:
    """Several tasks of a program; as a context manager it starts them, and stops them at the end."""

    def __init__(self, *tasks: PausableTask) -> None:
        self.tasks = list(tasks)

    def __enter__(self) -> PausableTasks:
        self.start_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def add(self, task: PausableTask) -> PausableTask:
        """Take in one more, and return it; it is not started."""
        self.tasks.append(task)
        return task

    def start_all(self) -> None:
        """Start each."""
        for each in self.tasks:
            each.start()

    def stop_all(self, timeout: timedelta | float | None = None) -> bool:
        """Let all end, wait for that, at most *timeout* together, and tell whether all have."""
        limit, began = as_length(timeout), time.monotonic()
        for each in self.tasks:
            each.stop(0)
        for each in self.tasks:
            each.stop(None if limit is None else max(0.0, began + limit.total_seconds() - time.monotonic()))
        return not any(each.running for each in self.tasks)

    def pause_all(self) -> None:
        """Let each wait at its next `check_pause`; the pool is not paused by it."""
        for each in self.tasks:
            each.pause()

    def resume_all(self) -> None:
        """Let each go on, as far as the pool is not paused."""
        for each in self.tasks:
            each.resume()

    def wait_until_all_paused(self, timeout: timedelta | float | None = None) -> None:
        """Wait until each that runs is paused, by `pause_all` or with the pool. Raises TasksBusy."""
        limit, began = as_length(timeout), time.monotonic()
        while busy := [each.name for each in self.tasks if each.running and not each.paused]:
            if limit is not None and time.monotonic() - began >= limit.total_seconds():
                raise TasksBusy(busy, limit)
            time.sleep(LOOK / 4)

    @property
    def status(self) -> list[TaskStatus]:
        """What each does at this moment."""
        return [each.status for each in self.tasks]
