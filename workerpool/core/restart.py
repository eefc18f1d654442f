"""When a slot is started again, and when it is given up.

Owns: restart intensity and back-off. Source of the idea: ``supervisor.erl`` of OTP (``add_restart``).
Invariant: no slot is charged more than ``max_restarts`` times within ``period`` and still started again.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
#: Failures to boot in a row after which a slot is given up: a module that cannot be imported stays so.
BOOT_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Crash:
    """How the process before this one in a slot ended: what it ran, and how many it had completed since it started."""

    revision_id: int | None
    completed: int


def charged(previous: Crash | None, crash: Crash) -> bool:
    """Tell whether *crash* counts against the slot (R24).

    The end of an idle process does. A crash of a revision does only in a row: after a crash of another revision, with
    nothing
    completed between them. A repeat of the same revision is charged to the revision.
    """
    if crash.revision_id is None:
        return True
    if previous is None or previous.revision_id is None or crash.completed > 0:
        return False
    return previous.revision_id != crash.revision_id


def add_restart(
    restarts: tuple[float, ...], now: float, max_restarts: int, period: float
) -> tuple[tuple[float, ...], bool]:
    """Return the restarts within *period* seconds up to *now* with this one added, and whether that is too many."""
    recent = (*(at for at in restarts if at > now - period), now)
    return recent, len(recent) > max_restarts


def delay(failures: int) -> float:
    """Return the seconds to wait before start number *failures* + 1 in a row of failures (1 is the first)."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(max(failures - 1, 0), 20))
