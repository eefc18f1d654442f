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
def test_an_estimate_is_between_what_was_known_and_the_last_run(known: float | None, took: float) -> None:
    """The first run is believed, and one that was held up for once is not mistaken for a slow handler."""
    found = estimate(known, took)
    least, most = (took, took) if known is None else (min(known, took), max(known, took))
    assert least * (1 - 1e-9) <= found <= most * (1 + 1e-9)
    assert estimate(0.0001, 0.005) * MOST < 3 * SOON


def test_a_handler_that_became_slow_is_known_after_one_run() -> None:
    """From a run of a tenth of a second on, one at a time, whatever was known."""
    assert ahead(estimate(0.0001, 0.2), MOST) == 1


def test_a_batch_with_something_unknown_is_not_short() -> None:
    """A handler that was never measured may be slow."""
    assert is_short([])
    assert is_short([0.001, 0.002])
    assert not is_short([0.001, None])
    assert not is_short([SOON * 3])
