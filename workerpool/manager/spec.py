"""What the manager is given: which children to keep, and how a run is bounded.

Made by the command line, which alone wires things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workerpool.core.plan import Stage


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start one child; ``brief`` makes its first message from its generation (None.

    The child speaks no channel).
    """

    name: str
    stage: Stage
    argv: tuple[str, ...]
    brief: Callable[[int], dict[str, Any]] | None = None
    board_slot: int | None = None
    descriptors: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A whole run; durations are seconds. ``worker`` makes the spec of the slot with this number (0, 1 …)."""

    services: tuple[ChildSpec, ...]
    worker: Callable[[int], ChildSpec]
    workers: int
    most_workers: int
    run_id: str
    manager_id: str
    grace: float
    cancel_grace: float
    lease: float
    max_restarts: int
    restart_period: float
    environment: Mapping[str, str]
