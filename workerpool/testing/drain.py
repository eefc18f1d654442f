"""Performing what is pending, in the process of the test.

Owns: a worker that ends when nothing can be claimed. Does not own: claiming, running and settling; they are the
worker's own loop and statements. Invariant: nothing is left claimed when it returns.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from workerpool.core.briefs import WorkerBrief
from workerpool.core.errors import Cancelled, Fail, Retry, Snooze
from workerpool.handlers import builtin, registry
from workerpool.handlers.registry import HandlerSpec
from workerpool.job.continuations import wait_for_callbacks
from workerpool.job.job import Job
from workerpool.link.board import Board, Record
from workerpool.store.effects import Effects
from workerpool.store.line import Line
from workerpool.worker import presence
from workerpool.worker.desk import WorkerDesk
from workerpool.worker.footing import Footing
from workerpool.worker.hand import Hand
from workerpool.worker.loop import Loop
from workerpool.worker.perform import Performer

#: Nothing renews a lease here: it holds for longer than any test.
LEASE = 86_400.0
#: Looks at work that nobody can claim (it is paused, or over its limit of concurrency) before it is left.
FRUITLESS = 20
LOOK_EVERY = 0.01
CALLBACKS = 10.0


@dataclass(slots=True)
class Drained:
    """What happened: revisions in the order of their attempts, and what handlers raised that is not for the pool."""

    attempts: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    interrupt: BaseException | None = None


class _AnyFooting(Footing):
    """A test may change its folder and signal handlers; they are its own."""

    def __init__(self) -> None:
        pass

    def restore(self) -> bool:
        return False


def drain(url: str, schema: str, home: Path) -> Drained:
    """Perform everything that can be claimed at *url* with the registered handlers, and what comes of it.

    What interrupts a test (Ctrl-C, `pytest.fail` in a handler) ends it, after the revision was settled.
    """
    drained = Drained()
    with ExitStack() as kept:
        kept.enter_context(_quiet_log())
        line = Line(url, schema, "testing")
        line.open()
        kept.callback(line.close)
        board = Board.create()
        kept.callback(os.close, board.descriptor)
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        kept.callback(os.close, bell)
        while _Worker(_brief(url, schema, home, bell), line, Record(board, 0), drained).work():
            pass
    wait_for_callbacks(CALLBACKS)
    return drained


class _Worker:
    """A worker that leaves when nothing can be claimed."""

    def __init__(self, brief: WorkerBrief, line: Line, record: Record, drained: Drained) -> None:
        self._brief, self._line, self._drained = brief, line, drained
        specs = {name: self._watched(spec) for name, spec in _handlers().items()}
        self._names = tuple(sorted(specs))
        self._effects = Effects(brief.url, brief.schema, brief.worker_id)
        desk = WorkerDesk(line, brief.lease, self._effects, Path(brief.home))
        self._performer = Performer(specs, desk, brief.max_crashes, _AnyFooting())
        self._loop = Loop(brief, line, Hand(), desk, self._performer, record, self._names, lambda: None, lambda: None)
        self._loop.slept = self._look
        self._seen = self._fruitless = 0

    def work(self) -> bool:
        """Work; tells whether it left because a handler wore it out, and another is to go on."""
        presence.register(self._line, self._brief, self._names)
        try:
            self._loop.run()
        finally:
            self._performer.close()
            self._effects.close()
        return self._performer.dirty and self._drained.interrupt is None

    def _look(self) -> None:
        count = len(self._drained.attempts)
        self._fruitless = self._fruitless + 1 if count == self._seen else 0
        self._seen = count
        if self._fruitless >= FRUITLESS or not self._is_claimable():
            self._loop.stopping = True

    def _is_claimable(self) -> bool:
        count, due, *_ = self._line.call("tick", handlers=list(self._names), how_many=1, manager="")[0]
        return count > 0 or (due is not None and due <= 0)

    def _watched(self, spec: HandlerSpec) -> HandlerSpec:
        """Return *spec* with a call that notes which revision it was for, and what it raised."""
        call = spec.call

        def run(job: Job) -> Any:
            with self._noting(job):
                return call(job)

        async def run_async(job: Job) -> Any:
            with self._noting(job):
                return await call(job)

        return replace(spec, call=run_async if spec.is_async else run)

    @contextmanager
    def _noting(self, job: Job) -> Iterator[None]:
        self._drained.attempts.append(job.id)
        try:
            yield
        except (Cancelled, Fail, Retry, Snooze):
            raise
        except Exception as error:
            self._drained.errors.append(error)
            raise
        except BaseException as error:
            self._drained.interrupt = error
            self._loop.stopping = True
            raise


def _handlers() -> Mapping[str, HandlerSpec]:
    """Return what was registered; ``default`` and ``command`` are configured by settings, which a test has none of."""
    return {"revert": HandlerSpec("revert", builtin.revert), **registry.known()}


def _brief(url: str, schema: str, home: Path, bell: int) -> WorkerBrief:
    host = socket.gethostname()
    return WorkerBrief(
        url=url,
        schema=schema,
        manager_id=f"{host}/{os.getpid()}-{uuid4().hex[:8]}",
        host=host,
        slot="test",
        generation=1,
        sharers=1,
        board_slot=0,
        bell=bell,
        handlers=(),
        command=None,
        commands=None,
        poll_interval=LOOK_EVERY,
        lease=LEASE,
        timeout=LEASE,
        cancel_grace=LEASE,
        max_crashes=3,
        max_revisions=None,
        max_rss=None,
        after_failure="continue",
        home=str(home),
        log_level="warning",
        log_format="json",
        log_file=None,
    )


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Let the pool's log go to ``logging``, where pytest shows it, unless the program has set structlog up itself."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()
