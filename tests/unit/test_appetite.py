"""What a worker asks for next, as its handlers and the answers teach it."""

from uuid import UUID

from workerpool.core.revision import Claim
from workerpool.store.line import FIRST, Answer, Place
from workerpool.worker.appetite import CHAIN, LOOK_AT_ALL, Appetite


def answer(count: int, state: str = "claimed", begin: Place = FIRST) -> Answer:
    """An answer with so many claims."""
    return Answer(frozenset(), tuple((number,) for number in range(count)), state, begin)


def claim(handler: str = "default") -> Claim:
    """A claim in hand."""
    return Claim(1, "page", handler, "{}", 1, None, 0, None, 1, None, UUID(int=0), 0.0)


def test_slow_work_too_is_claimed_while_the_one_before_it_runs() -> None:
    """Of handlers of 20 ms one is asked for, and got: there may be more, so the next claim overlaps with the work."""
    appetite = Appetite()
    appetite.took("default", 0.02)
    assert appetite.ask([]) == 1
    appetite.answered(answer(1), 1)
    assert appetite.plenty
    assert appetite.is_short([claim()])
    appetite.answered(answer(0, "empty"), 1)
    assert not appetite.plenty


def test_a_lone_hot_item_is_followed_and_others_are_looked_for_now_and_then() -> None:
    """Nothing but the successor came: some turns ask for that only, and still know that there is no plenty."""
    appetite = Appetite()
    appetite.took("default", 0.0001)
    assert appetite.ask([]) == 2
    appetite.answered(answer(1), 1)
    for _ in range(CHAIN):
        assert appetite.ask([]) == 1
        appetite.answered(answer(1), 1)
        assert not appetite.plenty
    assert appetite.ask([]) > 1


def test_many_are_asked_for_again_as_soon_as_others_are_there() -> None:
    """With something in hand, or after an answer with more, the chain is over."""
    appetite = Appetite()
    appetite.took("default", 0.0001)
    appetite.ask([])
    appetite.answered(answer(1), 1)
    assert appetite.ask([claim()]) > 1
    appetite.answered(answer(4), 1)
    assert appetite.ask([]) > 1


def test_a_claim_begins_where_the_last_one_ended_and_looks_at_all_in_time() -> None:
    """First at everything, then behind the place that the answer named, and at everything again after a moment."""
    appetite = Appetite()
    assert appetite.begin(10.0) == FIRST
    appetite.answered(answer(2, begin=(0, 7)), 0)
    assert appetite.begin(10.01) == (0, 7)
    assert appetite.begin(10.02 + LOOK_AT_ALL) == FIRST
    appetite.answered(answer(0, "contended"), 0)
    assert appetite.begin(10.03 + LOOK_AT_ALL) == (0, 7)
    appetite.answered(answer(0, "empty"), 0)
    assert appetite.begin(10.04 + LOOK_AT_ALL) == FIRST
