"""Whether what was sampled over a run stays where it is: a line fitted by least squares, and how sure that line is.

Owns: the fit and the verdict. Does not own: what is sampled (``course``). Pure. Invariant: a verdict is about the
change over all of the samples, not about two of them.

Neighbouring samples resemble each other (a table grows until a vacuum, then again), and a fit that takes them for
independent is surer than it may be. So the line is fitted to means of parts of the run, as simulations are judged by
batch means (A. M. Law, "Simulation Modeling and Analysis", chapter 9).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Samples = Sequence[tuple[float, float]]
#: A change over the run of less than this part of the median is flat, whatever the fit says.
FLAT = 0.05
#: A change of so many standard errors cannot be told from none.
UNSURE = 2.0
#: Parts of a run, to whose means the line is fitted: what is shorter than one is noise.
PARTS = 24
LEAST = 3
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Trend:
    """A fitted line: median, least and most of the samples, where the line begins, its change and the standard error.

    *begins* is at the first sample; *change* and *error* are over the *seconds* from there to the last one.
    """

    median: float
    least: float
    most: float
    seconds: float
    begins: float
    change: float
    error: float
    floor: float = 0.0
    """A change over the run that is flat however small the median is."""

    @property
    def per_hour(self) -> float:
        """The change an hour."""
        return self.change * HOUR / self.seconds

    @property
    def error_per_hour(self) -> float:
        """The standard error of the change an hour."""
        return self.error * HOUR / self.seconds

    @property
    def percent_per_hour(self) -> float | None:
        """The change an hour in percent of the median; None where that is nothing and the change is not."""
        if self.median:
            return 100 * self.per_hour / abs(self.median)
        return None if self.change else 0.0

    @property
    def is_flat(self) -> bool:
        """Tell whether the change over the run is small, or not to be told from none."""
        small = max(FLAT * abs(self.median), self.floor)
        return abs(self.change) <= small or abs(self.change) <= UNSURE * self.error

    @property
    def verdict(self) -> str:
        """Tell the same to people, and else where it goes."""
        return "flat" if self.is_flat else "grows" if self.change > 0 else "falls"


def fit(samples: Samples, floor: float = 0.0, parts: int = PARTS) -> Trend:
    """Return the trend of (second, value) *samples* in their order, of which there are three or more.

    *floor*: a change over the run that is flat in any case. Raises ValueError.
    """
    if len(samples) < LEAST or samples[-1][0] <= samples[0][0]:
        raise ValueError(f"a trend needs {LEAST} samples at different instants, and there are {len(samples)}")
    parted = means(samples, parts)
    values, first = [value for _, value in samples], samples[0][0]
    # Means of what never moved differ in their last bits.
    slope, error = line(parted) if min(values) < max(values) else (0.0, 0.0)
    seconds = samples[-1][0] - first
    begins = statistics.fmean(value - slope * (at - first) for at, value in parted)
    return Trend(
        statistics.median(values), min(values), max(values), seconds, begins, slope * seconds, error * seconds, floor
    )


def line(points: Samples) -> tuple[float, float]:
    """Return the slope of the line of least squares through three or more *points*, and its standard error."""
    middle = statistics.fmean(at for at, _ in points)
    level = statistics.fmean(value for _, value in points)
    spread = math.fsum((at - middle) ** 2 for at, _ in points)
    slope = math.fsum((at - middle) * (value - level) for at, value in points) / spread
    left = math.fsum((value - level - slope * (at - middle)) ** 2 for at, value in points)
    return slope, math.sqrt(left / (len(points) - 2) / spread)


def means(samples: Samples, parts: int) -> list[tuple[float, float]]:
    """Return the means of *parts* of the samples, which differ by one sample at most; of three parts at least."""
    parts = min(max(parts, LEAST), len(samples))
    edges = [place * len(samples) // parts for place in range(parts + 1)]
    cut = [samples[low:high] for low, high in itertools.pairwise(edges)]
    return [(statistics.fmean(at for at, _ in part), statistics.fmean(value for _, value in part)) for part in cut]
