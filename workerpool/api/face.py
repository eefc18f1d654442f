"""What the whole room stands on: settings, connections, and what is known of the pool at this moment.

Owns: their life. Invariant: a face is made once per process, and closed when the last answer has gone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from workerpool.api.metrics import Metrics
from workerpool.api.statsd import EVERY, Statsd
from workerpool.api.watch import Watch
from workerpool.api.webhooks.sources import Source, load
from workerpool.core.briefs import ApiBrief
from workerpool.store.session import Session
from workerpool.store.sessions import NoSession, Sessions

#: Connections that answer requests; the queue's own work is done over others.
CONNECTIONS = 6


@dataclass(slots=True)
class Face:
    """Made from a brief; every part of the room gets it."""

    brief: ApiBrief
    sessions: Sessions = field(init=False)
    watch: Watch = field(init=False)
    sources: Mapping[str, Source] = field(init=False)
    metrics: Metrics = field(init=False)
    _closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Prepare, without connecting to anything."""
        self.sessions = Sessions(self.brief.url, self.brief.schema, "api", CONNECTIONS)
        self.watch = Watch(self.sessions, self.lease)
        self.metrics = Metrics(self.lease)
        brief = self.brief
        self.sources = load(Path(brief.sources), brief.source_secrets) if brief.sources else {}

    def open(self) -> None:
        """Begin."""
        self.sessions.open()
        self.watch.start()
        if self.brief.statsd is not None:
            threading.Thread(target=self._push, args=self.brief.statsd, name="statsd", daemon=True).start()

    def close(self) -> None:
        """End every stream, and every connection."""
        self._closed.set()
        self.watch.stop()
        self.sessions.close()

    def _push(self, host: str, port: int) -> None:
        """Push the figures until the end; a database that is away is tried again with the next push."""
        statsd = Statsd(self.metrics, host, port)
        wait = 0.0  # at once: the first push is what the counters begin with
        while not self._closed.wait(wait):
            wait = EVERY
            with contextlib.suppress(NoSession), self.sessions.lend() as session:
                statsd.push(session)
        statsd.close()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Lend a session. Raises NoSession."""
        with self.sessions.lend() as session:
            yield session

    @property
    def lease(self) -> timedelta:
        """How long a claim holds, and after how long a worker that was not seen counts as silent."""
        return timedelta(seconds=self.brief.lease)
