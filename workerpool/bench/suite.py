"""A whole benchmark: the chosen workloads in rounds, the floor among them, and the series of growth.

Owns: the order of runs. Does not own: what is made of the figures (``report``). Invariant: what is compared is measured
in the same round, on the same server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from workerpool.bench import floor, machine
from workerpool.bench.catalogue import FLOOR, KILLED, ON_DEMAND, WORKLOADS, floors_of
from workerpool.bench.course import Course
from workerpool.bench.ground import Ground
from workerpool.bench.growth import SERIES
from workerpool.bench.report import Report
from workerpool.bench.sizes import Sizes

Say = Callable[[str], None]


def perform(ground: Ground, names: Sequence[str], sizes: Sizes, say: Say) -> Report:
    """Run the workloads *names* (none: all), and return what came of it. Raises Unverified."""
    chosen = [name for name in WORKLOADS if name in names or not (names or name in ON_DEMAND)]
    if ground.killing:
        chosen = [name for name in chosen if name in KILLED]
    report = Report(machine.describe(ground), sizes, datetime.now(UTC))
    wanted = None if FLOOR in chosen else floors_of(chosen)
    if wanted and not ground.killing:
        chosen.insert(0, FLOOR)
    for turn in range(1, sizes.rounds + 1):
        of = f" (round {turn} of {sizes.rounds})" if sizes.rounds > 1 else ""
        for name in chosen:
            say(f"{name}{of}: {WORKLOADS[name].sentence(sizes)}")
            found = floor.measure(ground, sizes, wanted) if name == FLOOR else WORKLOADS[name].perform(ground, sizes)
            if isinstance(found, Course):
                report.courses[name] = found  # of the last round
                found = found.figures
            report.add(name, found)
    report.kills = ground.kills
    if sizes.growth and not ground.killing and not names:
        for name, series in SERIES.items():
            say(f"growth, {name}: {series.about}")
            report.growth[name] = list(series.measure(ground, sizes))
    return report
