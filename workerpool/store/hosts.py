"""The hosts of a pool, as its workers' rows tell: who is there, and how one is asked to stop from elsewhere.

Owns: the request. Does not own: the stop itself (that host's keeper passes it on to its manager).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from workerpool.store.session import Row, Session

How = Literal["graceful", "quick"]


def stop(session: Session, host: str, how: How, who: str) -> list[str]:
    """Ask every manager of *host* to stop, and record it; returns their ids, none where nothing of it lives."""
    return [row["manager_id"] for row in session.rows("stop_host", host=host, how=how, who=who)]


def living(session: Session, managers: Sequence[str] | None = None) -> list[Row]:
    """Return host, manager_id and workers of each manager that has living workers; *managers*: of these alone."""
    return session.rows("hosts", managers=list(managers) if managers is not None else None)
