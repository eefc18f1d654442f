"""How much is claimed ahead: as much as ends soon, and one at a time where that is not known."""

from hypothesis import given
from hypothesis import strategies as st

from workerpool.core.pace import MOST, SOON, ahead, estimate, is_short

seconds = st.floats(0, 1000)


@given(st.none() | seconds, st.integers(1, MOST))
def test_what_is_claimed_ahead_is_bounded(slowest: float | None, last: int) -> None:
    """At least one, at most twice as many as before, never more than item locks allow; slow or unknown work: one."""
    count = ahead(slowest, last)
    assert 1 <= count <= min(MOST, 2 * last)
    if slowest is None or slowest >= SOON:
        assert count == 1
    else:
        assert count == 1 or count * slowest <= SOON * (1 + 1e-9)


@given(st.none() | seconds, seconds)
def test_a_long_run_is_believed_at_once(known: float | None, took: float) -> None:
    """An estimate is never below the last run, and falls slowly."""
    found = estimate(known, took)
    assert found >= took or abs(found - took) < 1e-9
    assert known is None or found <= max(known, took) * (1 + 1e-9)


def test_a_batch_with_something_unknown_is_not_short() -> None:
    """A handler that was never measured may be slow."""
    assert is_short([])
    assert is_short([0.001, 0.002])
    assert not is_short([0.001, None])
    assert not is_short([SOON * 3])
