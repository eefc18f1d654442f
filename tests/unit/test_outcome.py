"""What an attempt's end means for its revision."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from workerpool.core import outcome as verdicts
from workerpool.core.revision import Tries

TOKEN = uuid4()
limits = st.integers(1, 10)


@given(limits, limits, limits, st.integers(0, 10))
def test_a_crash_ends_a_revision_at_whichever_limit_comes_first(
    attempt: int, most: int, most_crashes: int, crashes: int
) -> None:
    """Tried again below both limits; the crash limit is named poison, also where both are reached at once."""
    outcome = verdicts.crashed(1, TOKEN, Tries(attempt, most, crashes, most_crashes), "it died", 0.5)
    assert outcome.crashed
    if crashes + 1 >= most_crashes:
        assert (outcome.verdict, outcome.kind) == ("failed", "poison")
    elif attempt >= most:
        assert (outcome.verdict, outcome.kind) == ("failed", "crash")
    else:
        assert (outcome.verdict, outcome.kind) == ("retried", "crash")
        assert outcome.delay.total_seconds() > 0
    assert outcome.message is not None
    assert "it died" in outcome.message


@given(limits, limits, st.booleans())
def test_a_failure_is_tried_again_while_attempts_are_left(attempt: int, most: int, final: bool) -> None:
    """Unless trying again would not help."""
    outcome = verdicts.failed(1, TOKEN, Tries(attempt, most, 0, 3), "no", "error", 0.5, final=final)
    assert outcome.verdict == ("failed" if final or attempt >= most else "retried")
    assert not outcome.crashed


def test_what_is_released_is_never_counted() -> None:
    """A release says neither failure nor crash."""
    outcome = verdicts.released(1, TOKEN)
    assert (outcome.verdict, outcome.kind, outcome.crashed) == ("released", None, False)


def test_at_most_three_attempts_end_a_revision_that_always_crashes() -> None:
    """With the defaults: two retries, then poison."""
    told = [verdicts.crashed(1, TOKEN, Tries(n + 1, 3, n, 3), "it died", 0.5).verdict for n in range(3)]
    assert told == ["retried", "retried", "failed"]
