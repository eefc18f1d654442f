"""The back-off of a failed revision: exponential, capped, with full jitter."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from workerpool.core.retry import BASE, CAP, backoff

jitters = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10**9), jitters)
def test_a_wait_is_never_negative_nor_longer_than_the_cap(attempt: int, jitter: float) -> None:
    """However often something failed."""
    assert timedelta(0) <= backoff(attempt, jitter) <= CAP


@given(st.integers(1, 100), jitters)
def test_the_ceiling_doubles_with_each_attempt(attempt: int, jitter: float) -> None:
    """The same jitter never waits less after a later attempt."""
    assert backoff(attempt, jitter) <= backoff(attempt + 1, jitter)
    assert backoff(1, jitter) <= BASE
