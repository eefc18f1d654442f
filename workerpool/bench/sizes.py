"""How large the workloads are.

Owns: three sets of sizes, and scaling them. Invariant: `quick` ends in under 3 minutes on two cores, `full` in 30.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts of revisions and items, and lengths in seconds."""

    rounds: int = 1
    revisions: int = 20_000
    items: int = 1_000
    hot: int = 5_000
    hot_front: int = 100_000
    beside: int = 1_000
    first: int = 10_000
    queued: int = 200_000
    picks: int = 200
    singles: int = 5_000
    bulk: int = 100_000
    short: int = 2_000
    long: int = 100
    waiting: int = 100_000
    turns: int = 200
    guard_rounds: int = 40
    told: int = 1_000
    pairs: int = 16
    floor: int = 100_000
    idle_seconds: float = 20.0
    workers: tuple[int, ...] = (2, 4, 8, 16)
    growth: bool = False
    most_queued: int = 1_000_000
    most_completed: int = 1_000_000
    soak_minutes: float = 60.0
    soak_most: float | None = None
    """Revisions a second that SOAK offers at most; None: half of what the pool can do, however much that is."""

    def scaled(self, revisions: int) -> Sizes:
        """Return sizes with so many *revisions*, and everything else smaller or larger by as much."""
        factor = revisions / self.revisions
        least = {"items": 10, "turns": 50, "floor": 4_000, "singles": 400}
        fixed = {"rounds", "workers", "idle_seconds", "growth", "guard_rounds", "pairs", "soak_minutes", "soak_most"}
        counts = {
            each.name: max(round(getattr(self, each.name) * factor), least.get(each.name, 20))
            for each in fields(self)
            if each.name not in fixed
        }
        return replace(self, **counts | {"revisions": revisions})


STANDARD = Sizes()
QUICK = replace(
    STANDARD,
    revisions=10_000,
    items=500,
    hot=2_000,
    hot_front=20_000,
    beside=300,
    first=5_000,
    queued=100_000,
    picks=100,
    singles=2_000,
    bulk=20_000,
    short=1_000,
    long=40,
    waiting=30_000,
    guard_rounds=12,
    told=400,
    pairs=4,
    floor=40_000,
    idle_seconds=10.0,
    workers=(2, 4, 8),
    soak_minutes=0.5,
    soak_most=500.0,
)
FULL = replace(STANDARD, rounds=3, growth=True)
