"""Restart intensity and back-off: crash loops end, single crashes are forgiven."""

from hypothesis import given
from hypothesis import strategies as st

from workerpool.core.restart import FIRST_DELAY, LONGEST_DELAY, Crash, add_restart, charged, delay

instants = st.lists(st.floats(0, 10_000), max_size=60).map(sorted)


@given(instants, st.integers(0, 10), st.floats(1, 1000))
def test_no_slot_is_restarted_more_often_than_allowed(crashes: list[float], most: int, period: float) -> None:
    """Within any period there are at most so many restarts that were charged and allowed."""
    restarts: tuple[float, ...] = ()
    allowed: list[float] = []
    for at in crashes:
        restarts, too_many = add_restart(restarts, at, most, period)
        if too_many:
            break
        allowed.append(at)
    for at in allowed:
        assert sum(at - period < other <= at for other in allowed) <= most


def test_what_was_long_ago_is_forgotten() -> None:
    """One restart in each period never gives a slot up."""
    restarts: tuple[float, ...] = ()
    for at in range(0, 10_000, 601):
        restarts, too_many = add_restart(restarts, float(at), 1, 600.0)
        assert not too_many
        assert len(restarts) == 1


@given(st.integers(0, 10_000))
def test_the_back_off_grows_to_its_limit(failures: int) -> None:
    """Longer after each failure, never longer than the limit, whatever the number."""
    assert FIRST_DELAY <= delay(failures) <= delay(failures + 1) <= LONGEST_DELAY


def test_only_crashes_of_different_revisions_in_a_row_are_charged_to_the_slot() -> None:
    """R24: a repeat of the same revision, a first crash, and one after something was completed are the revision's."""
    first = Crash(1, 0)
    assert not charged(None, first)
    assert not charged(first, Crash(1, 0))
    assert not charged(first, Crash(2, 5))
    assert charged(first, Crash(2, 0))


def test_the_death_of_an_idle_process_is_charged() -> None:
    """Nobody else can be blamed for it."""
    assert charged(None, Crash(None, 0))
    assert charged(Crash(1, 0), Crash(None, 7))
