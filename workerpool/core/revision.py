"""What a revision is between its claim and its settlement, as facts.

Owns: the claim as a worker holds it. Does not own: its row (``store``), nor what became of it (``outcome``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Status = Literal["draft", "scheduled", "pending", "processing", "completed", "failed", "cancelled"]
#: The statuses that never change again, except by a recorded operator action (P1).
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
STATUSES: tuple[str, ...] = ("draft", "scheduled", "pending", "processing", "completed", "failed", "cancelled")
#: How often a revision is tried where neither its row nor its handler says so.
DEFAULT_MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """One revision as a worker claimed it; ``token`` must match in every later write of this attempt."""

    revision_id: int
    item_key: str
    handler: str
    payload: str | None
    """JSON text; None: larger than 64 KB, to be read by token (R13)."""
    attempt: int
    max_attempts: int | None
    crash_count: int
    timeout_seconds: float | None
    fence: int
    metadata: str | None
    token: UUID
    claimed_at: float
    """When it was asked for, before the database began to count its lease; monotonic, of this process."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a revision was tried, and how often it may be."""

    attempt: int
    max_attempts: int
    crash_count: int
    max_crashes: int
