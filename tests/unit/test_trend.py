"""A trend is a fitted line and how sure it is, not a look at the ends."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.bench.trend import fit


@given(st.floats(-100, 100), st.floats(-1000, 1000), st.integers(3, 60))
def test_a_line_is_found_as_it_is(slope: float, start: float, count: int) -> None:
    """Without noise the change over the run is exact, and the error is none."""
    trend = fit([(float(at), start + slope * at) for at in range(count)])
    assert math.isclose(trend.change, slope * (count - 1), rel_tol=1e-6, abs_tol=1e-6)
    assert trend.error <= 1e-4 * (1 + abs(start) + abs(slope) * count)


def test_noise_around_a_level_is_flat_and_growth_under_it_is_not() -> None:
    """A change within two standard errors is noise; one far outside of them, and large, is growth."""
    noise = random.Random(1)
    level = [(float(at), 100 + noise.gauss(0, 5)) for at in range(100)]
    assert fit(level).is_flat
    growing = [(at, value + at) for at, value in level]
    assert not fit(growing).is_flat
    assert fit(growing).change == pytest.approx(99, abs=10)


def test_what_never_moves_is_flat() -> None:
    """A count that stays, also at nothing."""
    assert fit([(float(at), 0.0) for at in range(5)]).is_flat
    assert fit([(float(at), 16.0) for at in range(5)]).is_flat
    assert not fit([(float(at), 16.0 + 5 * at) for at in range(50)]).is_flat


def test_too_few_samples_are_no_trend() -> None:
    """Two points are always a line."""
    with pytest.raises(ValueError, match="three samples"):
        fit([(0.0, 1.0), (1.0, 2.0)])
