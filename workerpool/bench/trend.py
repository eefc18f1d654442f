"""Whether a series of samples stays where it is: a line fitted by least squares, and how sure that line is.

Owns: the fit and the verdict. Pure. Invariant: a verdict is about the change over all of the samples, not about two of
them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: A change over the run of less than this part of the median is flat, whatever the fit says.
FLAT = 0.1


@dataclass(frozen=True, slots=True)
class Trend:
    """A fitted line: the median of the samples, the change over the run, and the standard error of that change."""

    median: float
    change: float
    error: float

    @property
    def is_flat(self) -> bool:
        """Tell whether the change is small, or not to be told from none (two standard errors)."""
        return abs(self.change) <= FLAT * abs(self.median) or abs(self.change) <= 2 * self.error


def fit(samples: Sequence[tuple[float, float]]) -> Trend:
    """Return the trend of (instant, value) *samples*, of which there are three or more. Raises ValueError."""
    if len(samples) < 3 or samples[-1][0] <= samples[0][0]:
        raise ValueError(f"a trend needs three samples at different instants, and there are {len(samples)}")
    instants, values = [at for at, _ in samples], [value for _, value in samples]
    slope, start = statistics.linear_regression(instants, values)
    spread = sum((at - statistics.fmean(instants)) ** 2 for at in instants)
    left = sum((value - start - slope * at) ** 2 for at, value in samples)
    length = instants[-1] - instants[0]
    error = math.sqrt(left / (len(samples) - 2) / spread) * length
    return Trend(statistics.median(values), slope * length, error)
