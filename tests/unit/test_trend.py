"""A trend is a fitted line and how sure it is, not a look at the ends."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.bench.trend import HOUR, Samples, fit, line, means


@given(st.floats(-100, 100), st.floats(-1000, 1000), st.integers(3, 200))
def test_a_line_is_found_as_it_is(slope: float, start: float, count: int) -> None:
    """Without noise the change is exact, over the run and an hour, and the error is none; so is where it begins."""
    trend = fit([(5.0 * at, start + slope * at) for at in range(count)])
    assert math.isclose(trend.change, slope * (count - 1), rel_tol=1e-6, abs_tol=1e-6)
    assert math.isclose(trend.per_hour, slope * HOUR / 5, rel_tol=1e-6, abs_tol=1e-3)
    assert math.isclose(trend.begins, start, rel_tol=1e-6, abs_tol=1e-6)
    assert trend.error <= 1e-4 * (1 + abs(start) + abs(slope) * count)


def test_slope_and_error_are_those_of_the_books() -> None:
    """Worked by hand: x̄ = 2.5, ȳ = 3.5, Sxx = 5, Sxy = 7; the squares that are left make 0.2, over two degrees."""
    slope, error = line([(1.0, 1.5), (2.0, 2.5), (3.0, 4.5), (4.0, 5.5)])
    assert slope == pytest.approx(1.4)
    assert error == pytest.approx(math.sqrt(0.2 / 2 / 5))


def test_noise_around_a_level_is_flat_and_growth_under_it_is_not() -> None:
    """A change within two standard errors is noise; one far outside of them, and large, is growth, or a fall."""
    noise = random.Random(1)
    level = [(float(at), 100 + noise.gauss(0, 5)) for at in range(100)]
    assert fit(level).verdict == "flat"
    growing = fit([(at, value + at) for at, value in level])
    assert growing.change == pytest.approx(99, abs=10)
    assert growing.verdict == "grows"
    assert fit([(at, value - at / 2) for at, value in level]).verdict == "falls"


def test_a_small_change_is_flat_however_sure_it_is() -> None:
    """Up to a twentieth of the median, over the run."""
    assert fit([(float(at), 1000 + 0.4 * at) for at in range(100)]).is_flat
    assert not fit([(float(at), 1000 + 0.7 * at) for at in range(100)]).is_flat


def test_a_sawtooth_is_flat_wherever_it_is_cut() -> None:
    """What grows until a vacuum and then again: neighbours resemble each other, which makes no trend."""
    for cut in range(60):
        assert fit(_sawtooth(cut, grows=0.0)).is_flat
        assert not fit(_sawtooth(cut, grows=0.5)).is_flat


def _sawtooth(cut: int, grows: float) -> Samples:
    return [(5.0 * at, 1000 + 20.0 * ((at + cut) % 60) + grows * 5 * at) for at in range(576)]


def test_what_never_moves_is_flat() -> None:
    """A count that stays, also at nothing; a change has no percentage of nothing."""
    nothing = fit([(float(at), 0.0) for at in range(5)])
    assert nothing.is_flat
    assert nothing.percent_per_hour == 0.0
    assert fit([(float(at), 16.0) for at in range(5)]).is_flat
    assert fit([(at / 3, 0.1) for at in range(500)]).change == 0.0
    assert not fit([(float(at), 16.0 + 5 * at) for at in range(50)]).is_flat
    late = fit([(float(at), float(at > 55)) for at in range(100)])
    assert (late.median, late.percent_per_hour) == (0.0, None)


def test_what_is_too_little_to_count_is_flat() -> None:
    """A change over the run of up to the floor, where the median is small."""
    rising = [(float(at), 0.02 * at) for at in range(100)]
    assert not fit(rising).is_flat
    assert not fit(rising, floor=1.9).is_flat
    assert fit(rising, floor=2.0).is_flat


@given(st.integers(3, 300), st.integers(1, 40))
def test_each_sample_is_in_one_part(count: int, parts: int) -> None:
    """As many parts as were asked for, at least three, where there are so many samples; even to one sample."""
    samples = [(float(at), float(at * at)) for at in range(count)]
    found = means(samples, parts)
    assert len(found) == min(max(parts, 3), count)
    assert [at for at, _ in found] == sorted(at for at, _ in found)
    assert len(means(samples, count)) == count
    assert means(samples, count) == samples


def test_too_few_samples_are_no_trend() -> None:
    """Two points are always a line."""
    with pytest.raises(ValueError, match="3 samples"):
        fit([(0.0, 1.0), (1.0, 2.0)])
