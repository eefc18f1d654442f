"""Pushing the figures to StatsD, under the names that Prometheus gets.

Owns: the names' form, what was pushed before, and that nobody is disturbed by a listener that is away. Does not own:
the figures (``metrics``), nor when they are pushed. Invariant: what a counter has risen by is sent once; what had been
counted before the first push is not sent at all, because a restart must not send it again.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client.metrics_core import Metric
from statsd import StatsClient  # type: ignore[import-untyped]

from workerpool import logs
from workerpool.api.metrics import Metrics
from workerpool.store.session import Session

log = logs.get("statsd")
#: Seconds between two pushes.
EVERY = 10.0
#: Seconds until the same trouble is told again, and until the listener's name is looked up again.
TOLD_AGAIN, LOOKED_UP_AGAIN = 3600.0, 300.0
#: Seconds that sending one packet may take.
PATIENCE = 1.0
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
#: What a part of a name is where a label says nothing.
NOTHING = "none"


class Client(Protocol):
    """What is needed of a client; each call sends one packet. Both raise OSError."""

    def gauge(self, stat: str, value: float) -> None:
        """Say how much there is."""

    def incr(self, stat: str, count: float) -> None:
        """Say how much more there is."""

    def close(self) -> None:
        """Close the socket."""


class _Client(StatsClient):  # type: ignore[misc]
    """The library's client, which says what goes wrong where the library's own keeps it to itself."""

    def __init__(self, host: str, port: int) -> None:
        try:
            super().__init__(host, port)
        except OSError:  # a name that has addresses of the other kind alone
            super().__init__(host, port, ipv6=True)
        self._sock.settimeout(PATIENCE)

    def _send(self, data: str) -> None:
        self._sock.sendto(data.encode("ascii"), self._addr)


class Statsd:
    """Pushes to one listener. The counts are the whole pool's: one host of a pool is to push."""

    def __init__(self, metrics: Metrics, host: str, port: int, connect: Callable[[str, int], Client] = _Client) -> None:
        """*connect* makes a client for an address, and raises OSError where its name does not resolve."""
        self._metrics, self._address, self._connect = metrics, (host, port), connect
        self._client: Client | None = None
        self._connected_at = 0.0
        self._pushed: dict[str, float] | None = None
        self._told: dict[str, float] = {}

    def push(self, session: Session) -> bool:
        """Send the figures; tells whether all of them went out. Raises nothing: it is logged, and tried again."""
        try:
            gauges, counters = _stats(self._metrics.collect(session))
            self._send(gauges, counters)
        except Exception as error:  # whatever it is, figures are worth nobody's while
            self._say(error)
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close the socket; the next push opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, gauges: dict[str, float], counters: dict[str, float]) -> None:
        if self._pushed is None:
            self._pushed = counters
        client = self._live()
        for name, value in gauges.items():
            client.gauge(name, _plain(value))
        for name, value in counters.items():
            before = self._pushed.get(name, 0.0)
            more = round(value - before, 3)
            if more > 0:
                client.incr(name, _plain(more))
                self._pushed[name] = before + more
            elif more < 0:  # the schema was made anew, or restored
                self._pushed[name] = value

    def _live(self) -> Client:
        now = time.monotonic()
        if self._client is not None and now - self._connected_at > LOOKED_UP_AGAIN:
            self.close()
        if self._client is None:
            self._client, self._connected_at = self._connect(*self._address), now
        return self._client

    def _say(self, error: Exception) -> None:
        cause, now = f"{type(error).__name__} {getattr(error, 'errno', '')}", time.monotonic()
        if now - self._told.get(cause, -TOLD_AGAIN) >= TOLD_AGAIN:
            self._told[cause] = now
            host, port = self._address
            log.warning("statsd.failed", host=host, port=port, error=str(error).strip() or cause)


def _stats(families: Iterable[Metric]) -> tuple[dict[str, float], dict[str, float]]:
    """Return gauges and counters by name. Labels that come to the same name are added up."""
    gauges: dict[str, float] = defaultdict(float)
    counters: dict[str, float] = defaultdict(float)
    for family in families:
        into = gauges if family.type == "gauge" else counters
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):  # a histogram is its count and its sum
                into[_name(sample.name, sample.labels.values())] += sample.value
    return dict(gauges), dict(counters)


def _name(name: str, labels: Iterable[str]) -> str:
    return ".".join([name, *(_UNFIT.sub("_", label) or NOTHING for label in labels)])


def _plain(value: float) -> float:
    """Return a number whose text every server understands: whole, or to a thousandth."""
    return int(value) if value == int(value) else round(value, 3)
