"""What a worker and a keeper count, and how what was counted is sent: each thing once, whatever is in the way."""

import threading
from collections import defaultdict
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest

from workerpool.core.outcome import Outcome, Verdict
from workerpool.keeper.tally import Tally as KeeperTally
from workerpool.store import tallies
from workerpool.store.line import Line, LineLost, StatementRefused
from workerpool.store.tallies import BOUNDS, INFINITY, Key, Sender, key
from workerpool.worker.tally import OF_ALL, OF_ONE, Tally


class Table:
    """The table of counts, and the line to it; it can be out of reach."""

    def __init__(self) -> None:
        self.values: dict[Key, float] = defaultdict(float)
        self.sends: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def call(self, name: str, **given: Any) -> list[Any]:
        assert name == "tally"
        if self.error is not None:
            raise self.error
        self.sends.append(given)
        keys = zip(given["names"], given["handlers"], given["kinds"], given["buckets"], strict=True)
        for each, value in zip(keys, given["values"], strict=True):
            self.values[each] += value
        return []

    @property
    def line(self) -> Line:
        """It, as a line."""
        return cast("Line", self)


def rows(handler: str, *revisions: int) -> list[tuple[Any, ...]]:
    """What a turn answers for claims."""
    return [(each, "item", handler, "{}", 1, None, 0, None, 1, None) for each in revisions]


def outcome(verdict: Verdict, kind: Any = None) -> Outcome:
    """An outcome of somebody's attempt."""
    return Outcome(1, uuid4(), verdict, kind=kind)


def test_what_a_worker_counts() -> None:
    """Claims, outcomes with the kind of failure, and run times by bucket, all by handler; refused outcomes."""
    table = Table()
    tally = Tally(table.line)
    tally.claimed(rows("a", 1, 2, 3) + rows("b", 4))
    tally.ended("a", outcome("completed"), 0.0005)
    tally.ended("a", outcome("completed"), 0.001)  # a bound belongs to the bucket below it
    tally.ended("a", outcome("retried", "timeout"), 7.0)
    tally.ended("b", outcome("released"), 99_999.0)
    tally.fenced()
    tally.sender.send()
    assert table.values == {
        key("claims", "a"): 3,
        key("claims", "b"): 1,
        key("outcomes", "a", "completed"): 2,
        key("outcomes", "a", "retried:timeout"): 1,
        key("outcomes", "b", "released"): 1,
        key("run_seconds", "a", "", 0.001): 2,
        key("run_seconds", "a", "", 10.0): 1,
        key("run_seconds", "b", "", INFINITY): 1,
        key("run_seconds_sum", "a"): 7.0015,
        key("run_seconds_sum", "b"): 99_999.0,
        key("fenced"): 1,
    }


def test_nothing_is_sent_where_nothing_was_counted() -> None:
    """A pool at rest sends nothing: not before the first count, and not again after a send."""
    table = Table()
    tally, keeper = Tally(table.line), KeeperTally(table.line)
    for sender in (tally.sender, keeper.sender):
        assert sender.due_in() is None
        assert not sender.send()
    tally.claimed(rows("a", 1))
    keeper.add("rescues")
    for sender in (tally.sender, keeper.sender):
        assert sender.send()
        assert sender.due_in() is None
        assert not sender.send()
    assert len(table.sends) == 2


def test_counts_are_sent_some_seconds_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is counted meanwhile, one statement each five seconds."""
    now = [100.0]
    monkeypatch.setattr(tallies.time, "monotonic", lambda: now[0])
    table = Table()
    tally = Tally(table.line)
    tally.claimed(rows("a", 1))
    assert tally.sender.due_in() == tallies.EVERY
    for number in range(2, 50):
        now[0] += 0.1
        tally.claimed(rows("a", number))
        assert not tally.sender.send_when_due()
    now[0] = 100.0 + tallies.EVERY
    assert tally.sender.send_when_due()
    assert table.values[key("claims", "a")] == 49
    assert tally.sender.due_in() is None


@pytest.mark.parametrize(
    "error", [LineLost(ConnectionError("cut")), StatementRefused(psycopg.errors.LockNotAvailable())]
)
def test_what_could_not_be_sent_is_sent_later(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection, or a refusal: the counts wait and are sent with what came after them; not at once again."""
    now = [100.0]
    monkeypatch.setattr(tallies.time, "monotonic", lambda: now[0])
    table = Table()
    counts: dict[Key, float] = {key("claims", "a"): 2.0}
    sender = Sender(table.line, counts.items)
    table.error = error
    if isinstance(error, LineLost):
        with pytest.raises(LineLost):
            sender.send()
    else:
        assert not sender.send()
    sender.finish()  # at the end of a process nothing is raised either
    wait = tallies.EVERY if isinstance(error, LineLost) else tallies.AFTER_REFUSAL
    assert sender.due_in() == wait
    table.error = None
    counts[key("claims", "a")] = 5.0
    now[0] += wait
    assert sender.send_when_due()
    assert table.values == {key("claims", "a"): 5.0}


def test_counts_made_while_others_are_sent_are_not_lost() -> None:
    """One thread counts, another sends all the time: in the end everything was sent, once."""
    table = Table()
    tally, over = Tally(table.line), threading.Event()

    def send() -> None:
        while not over.is_set():
            tally.sender.send()

    thread = threading.Thread(target=send)
    thread.start()
    for number in range(20_000):
        tally.claimed(rows(f"h{number % 7}", number))
        tally.ended(f"h{number % 7}", outcome("completed" if number % 3 else "failed", "error"), 0.5)
    over.set()
    thread.join()
    tally.sender.send()
    assert len(table.sends) > 1
    totals: dict[str, float] = defaultdict(float)
    for (name, *_), value in table.values.items():
        totals[name] += value
    assert totals == {"claims": 20_000, "outcomes": 20_000, "run_seconds": 20_000, "run_seconds_sum": 10_000}


@pytest.mark.parametrize(("handlers", "claims"), [(1, 1), (1, 10_000), (3, 1_000), (150, 90)])
def test_waits_are_looked_at_by_a_sample(handlers: int, claims: int) -> None:
    """However many were claimed, a few hundred are looked at: of each handler some, from all of the time."""
    table = Table()
    tally = Tally(table.line)
    for number in range(claims):
        for handler in range(handlers):
            tally.claimed(rows(f"h{handler}", number * handlers + handler))
    tally.sender.send()
    (sent,) = table.sends
    assert sent["bounds"] == list(BOUNDS)
    assert sorted(sent["waited_for"]) == sorted(f"h{each}" for each in range(handlers))
    assert sent["claims"] == [claims] * handlers
    assert len(sent["sample"]) <= max(OF_ALL, handlers)
    for handler in range(handlers):
        mine = sorted(each for each in sent["sample"] if each % handlers == handler)
        assert 1 <= len(mine) <= OF_ONE
        if len(mine) >= 16:
            assert mine[len(mine) // 2] in range(claims * handlers // 4, claims * handlers * 3 // 4)


def test_what_may_crash_again_takes_nothing_along() -> None:
    """Before a revision begins that has a crash behind it, what was counted is sent, its claim too."""
    table = Table()
    tally = Tally(table.line)
    tally.claimed(rows("a", 1))
    tally.ended("a", outcome("completed"), 0.5)
    assert table.sends == []
    tally.claimed([(2, "item", "a", "{}", 2, None, 1, None, 1, None)])
    assert table.values[key("outcomes", "a", "completed")] == 1
    assert table.values[key("claims", "a")] == 2


def test_what_a_keeper_counts() -> None:
    """What it settled for the dead, by handler and kind; how often anything else happened."""
    table = Table()
    tally = KeeperTally(table.line)
    tally.settled("a", outcome("retried", "crash"))
    tally.settled("a", outcome("released"))
    tally.add("restarts", kind="crash")
    tally.add("restarts", kind="crash")
    tally.add("unhandled", count=3)
    tally.sender.send()
    assert table.values == {
        key("outcomes", "a", "retried:crash"): 1,
        key("outcomes", "a", "released"): 1,
        key("restarts", "", "crash"): 2,
        key("unhandled"): 3,
    }
