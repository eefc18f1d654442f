"""PROGRESS: what `job.progress` and `job.log` cost a handler.

Owns: that workload. Handlers of 1 ms of computing that call each once, and such that do not, run in turns on one pool,
and each pair in the other order than the one before. Invariant: all that was said is in the database in the end.
"""

from __future__ import annotations

import statistics

from workerpool.bench import fillings
from workerpool.bench.ground import Ground
from workerpool.bench.record import Unverified, rate, verify
from workerpool.bench.run import performing, settled
from workerpool.bench.sizes import Sizes


def progress_calls(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Perform handlers that say how far they are, and such that say nothing, by turns."""
    ratios, quiet = [], []
    with ground.database() as database:
        with performing(ground, database) as (_, record):
            done = 0
            for pair in range(sizes.pairs + 1):  # the first one warms everything up
                rates = {}
                for name in ("quiet", "telling") if pair % 2 else ("telling", "quiet"):
                    database.fill(fillings.told(sizes.told, done, name))
                    done += sizes.told
                    settled(database, done)
                    rates[name] = rate(sorted(record.events(), key=lambda event: event.id)[-sizes.told :])
                if pair:
                    ratios.append(rates["telling"] / rates["quiet"])
                    quiet.append(rates["quiet"])
        said = database.number("SELECT count(*) FROM workerpool.execution_log WHERE level = 'info'")
        if said != done // 2:
            raise Unverified(f"{said:.0f} of {done // 2} lines are in the execution log")
        verify(database, record.events())
    figures = {"quiet_per_second": statistics.median(quiet), "ratio": statistics.median(ratios)}
    low, _, high = statistics.quantiles(ratios)
    return figures | {"lower_quartile_ratio": low, "upper_quartile_ratio": high}
