"""Cancel, timeout and kill, each against completion, at the moment at which the handler ends: one of the two wins, and
there is one record of it.

The moment is moved until each side wins about half of the rounds, so that the race is at its narrowest whatever the
machine. ``tests/run.sh --long`` plays 1,000 rounds of each.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.daemon import Daemon
from tests.process.race import WORKERS, Lane, Moment, Ring
from tests.store.history import Told

Pool = Callable[..., Daemon]
ROUNDS = [100, pytest.param(1_000, marks=pytest.mark.long)]
HANDLERS = Path(__file__).parent / "end_handlers.py"
#: A handler that does not look is killed so many seconds after its limit.
HARD_AFTER = 2.0


@pytest.mark.parametrize("rounds", ROUNDS)
def test_cancel_against_completion(pool: Pool, rounds: int) -> None:
    """A cancel in the moment of the end: by the token, which the handler sees or not; and by the stamp alone, which
    finds the failure of its handler settled or not. The one who cancels is told who won.
    """
    ring = Ring(pool(handlers=HANDLERS, workers=WORKERS).start())
    token, stamp = Moment(-0.04, 0.004, 0.03), Moment(0.0, 0.001, 0.005)

    def one(lane: Lane, number: int) -> None:
        seconds, looks = random.uniform(0.1, 0.15), number % 2 == 0
        moment = token if looks else stamp
        revision = lane.insert(seconds, looks=looks, fails=not looks)
        lane.at_the_end(revision, seconds, moment)
        answer = lane.cancel(revision, by_stamp=number % 4 < 2)
        status, attempt, crashes, kind = lane.ended(revision)
        assert (attempt, crashes) == (1, 0)
        assert (status, kind) in {("cancelled", "cancelled"), ("completed", None) if looks else ("failed", "error")}
        ring.told.append(Told(revision, answer, status))
        moment.learn(contender=status == "cancelled")

    ring.play(rounds, one)
    assert len(ring.check()) == rounds
    token.assert_both_won()
    stamp.assert_both_won()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_timeout_against_completion(pool: Pool, rounds: int) -> None:
    """A time limit that is about the handler's own time, for one that looks; and, in each twentieth round, one whose
    worker is killed at about its end because it does not look.
    """
    ring = Ring(pool(handlers=HANDLERS, workers=WORKERS, max_restarts=1000).start())
    soft, hard = Moment(-0.03, 0.004, 0.03), Moment(0.0, 0.01, 0.02)

    def one(lane: Lane, number: int) -> None:
        looks = number % 20 != 0
        moment, limit = (soft if looks else hard), random.uniform(0.1, 0.15)
        beyond = 0.0 if looks else HARD_AFTER
        revision = lane.insert(limit + beyond - moment.next(), f"{limit:.4f}", looks=looks)
        status, attempt, crashes, kind = lane.ended(revision)
        assert (status, attempt, crashes, kind) in {("failed", 1, 0, "timeout"), ("completed", 1, 0, None)}
        moment.learn(contender=status == "failed")

    ring.play(rounds, one)
    assert len(ring.check()) == rounds
    soft.assert_both_won()
    if rounds > 100:
        hard.assert_both_won()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_kill_against_completion(pool: Pool, rounds: int) -> None:
    """kill -9 in the moment of return, settlement and commit: the attempt has completed or has crashed, and what
    crashed is done again.
    """
    ring = Ring(pool(handlers=HANDLERS, workers=WORKERS, max_restarts=10_000, max_crashes=100).start())
    moment = Moment(0.0, 0.0005, 0.003)

    def one(lane: Lane, number: int) -> None:
        landed = False
        while not landed:
            seconds = random.uniform(0.03, 0.06)
            revision = lane.insert(seconds)
            pid = lane.at_the_end(revision, seconds, moment)
            try:
                os.kill(pid, signal.SIGKILL)
                landed = True
            except ProcessLookupError:  # killed in another lane's round
                continue
            _, _, crashes, _ = lane.ended(revision, "(status = 'completed' OR crash_count > 0)")
            moment.learn(contender=crashes > 0)

    ring.play(rounds, one)
    rows = ring.check()
    assert len(rows) >= rounds
    assert {row["status"] for row in rows} == {"completed"}
    moment.assert_both_won()


def test_the_last_words_come_before_the_end(pool: Pool) -> None:
    """Also where a slow handler is next: an attempt that is tried again has no claim that would let its words in."""
    daemon = pool(handlers=HANDLERS, workers=1).start()
    revisions = []
    for n in range(12):
        revisions.append(daemon.insert(f"a{n}", "last words"))
        daemon.insert(f"b{n}", "race", {"seconds": 0.15 if n % 3 == 0 else 0.0})
    for revision in revisions:
        assert daemon.ended(revision)["status"] == "failed"
        words = [line[-1] for line in daemon.lines(revision) if line.startswith("the words")]
        assert words == ["1", "2"]
    assert daemon.stop() == 0


@pytest.mark.parametrize("rounds", ROUNDS)
def test_mistaken_rescue_against_completion(pool: Pool, rounds: int) -> None:
    """A worker that lives is held for dead in the moment of the end: another does the work again while the first one
    still ends, and only one of the two is believed.
    """
    ring = Ring(pool(handlers=HANDLERS, workers=WORKERS, max_crashes=100).start())
    moment = Moment(0.0, 0.001, 0.015)

    def one(lane: Lane, number: int) -> None:
        seconds = random.uniform(0.03, 0.06)
        revision = lane.insert(seconds)
        lane.at_the_end(revision, seconds, moment)
        moment.learn(contender=lane.bury(revision))
        lane.ended(revision)

    ring.play(rounds, one)
    assert {row["status"] for row in ring.check()} == {"completed"}
    moment.assert_both_won()
    assert ring.daemon.events("revision.fenced", verdict="completed")
