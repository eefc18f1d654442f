"""Stopping the pools of another host, through the rows of their workers.

Owns: the request, its record, and whether anybody is left. Does not own: carrying it out (the keeper there tells its
manager). Invariant: a request is for the managers that live when it is made; one that is started later knows nothing of
it.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Literal

from workerpool.store.session import Session

Stop = Literal["graceful", "quick"]
#: Between two looks at what is left.
LOOK = timedelta(milliseconds=100)


class NoSuchHost(LookupError):
    """No pool runs on a host of that name; *hosts* are those on which one does."""

    def __init__(self, host: str, hosts: tuple[str, ...]) -> None:
        self.host, self.hosts = host, hosts
        there = f"pools run on {', '.join(hosts)}" if hosts else "no pool runs anywhere"
        super().__init__(f"no worker on host {host!r} is alive: {there}")


def stop_host(session: Session, host: str, how: Stop, who: str, reason: str, silence: timedelta) -> tuple[str, ...]:
    """Ask the managers of *host* to stop, and return which; *silence* is how long the living may not have been seen.

    Raises NoSuchHost.
    """
    asked = session.rows("stop_host", host=host, mode=how, reason=reason, who=who, silence=silence)
    if not asked:
        raise NoSuchHost(host, tuple(row["host"] for row in session.rows("hosts", silence=silence)))
    return tuple(row["manager"] for row in asked)


def wait_until_gone(session: Session, managers: tuple[str, ...], limit: timedelta, silence: timedelta) -> int:
    """Wait until no worker of *managers* is alive, at most *limit*; returns how many still are."""
    deadline = time.monotonic() + limit.total_seconds()
    while True:
        row = session.row("left_of", managers=list(managers), silence=silence)
        alive = int(row["alive"]) if row is not None else 0
        if not alive or time.monotonic() >= deadline:
            return alive
        time.sleep(LOOK.total_seconds())
