"""The back-off of a failed revision: exponential, capped, with full jitter."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.core.retry import DEFAULT, Backoff

jitters = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10**9), jitters)
def test_a_wait_is_never_negative_nor_longer_than_the_cap(attempt: int, jitter: float) -> None:
    """However often something failed."""
    assert timedelta(0) <= DEFAULT.wait(attempt, jitter) <= DEFAULT.cap


@given(st.integers(1, 100), jitters)
def test_the_ceiling_doubles_with_each_attempt(attempt: int, jitter: float) -> None:
    """The same jitter never waits less after a later attempt."""
    assert DEFAULT.wait(attempt, jitter) <= DEFAULT.wait(attempt + 1, jitter)
    assert DEFAULT.wait(1, jitter) <= DEFAULT.base


@given(st.floats(1, 10), st.integers(1, 10**6), jitters)
def test_a_back_off_of_ones_own_keeps_its_cap(factor: float, attempt: int, jitter: float) -> None:
    """With any factor, after any number of failures."""
    own = Backoff(timedelta(milliseconds=10), factor, timedelta(seconds=2))
    assert timedelta(0) <= own.wait(attempt, jitter) <= own.cap


@pytest.mark.parametrize(
    "fields", [{"base": timedelta(0)}, {"factor": 0.5}, {"base": timedelta(hours=1), "cap": timedelta(seconds=1)}]
)
def test_a_back_off_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    """No wait, waits that shrink, a cap below the base."""
    with pytest.raises(ValueError, match="base is more than 0"):
        Backoff(**fields)  # type: ignore[arg-type]
