"""What went wrong below, as the front ends tell it.

Owns: which error of the store is which kind of trouble. Invariant: no sentence holds a statement, an address or a
secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workerpool.store import failures
from workerpool.store.asked import CannotEnqueue
from workerpool.store.enqueueing import DedupeContended, NotAdded
from workerpool.store.sessions import NoSession


@dataclass(frozen=True, slots=True)
class Trouble:
    """`away`: try again soon; `busy`: somebody holds a lock; `refused`: the database does not take it; `unfit`:
    the schema or the role.
    """

    kind: Literal["away", "busy", "refused", "unfit", "invalid"]
    sentence: str


def describe(error: Exception) -> Trouble | None:
    """Return what an error of the store means; None: nobody expected it."""
    if isinstance(error, CannotEnqueue):
        return Trouble("invalid", str(error))
    if isinstance(error, NotAdded):
        return Trouble("refused", str(error))
    if isinstance(error, DedupeContended):
        return Trouble("busy", str(error))
    if isinstance(error, NoSession):
        return Trouble("away", str(error))
    match failures.describe(error):
        case ("unavailable", sentence, _):
            return Trouble("away", sentence)
        case ("busy", sentence, hint):
            return Trouble("busy", f"{sentence}; {hint}")
        case ("refused", sentence, hint):
            return Trouble("refused", f"{sentence}; {hint}" if hint else sentence)
        case (_, sentence, hint):
            return Trouble("unfit", f"{sentence}; {hint}" if hint else sentence)
    return None
