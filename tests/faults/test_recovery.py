"""What measures recoveries is checked: on fabricated histories, and by a run of pytest that ends with its lines."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults import recovery
from tests.faults.recovery import JUMP, Claim, Deed, Hit, Promise
from tests.process.daemon import Daemon
from tests.recoveries import part
from tests.store.history import Change

PROMISE = Promise(lease=2.0, heartbeat=0.3)
#: What logs tell is of this run: the moments in them are counted from here.
START = int(time.time())
DEAD, LIVING = "a/1-x/W1.1", "b/2-y/W1.1"


def change(
    revision: int, ver: int, before: str | None, after: str, at: float, attempt: int = 1, crashes: int = 0
) -> Change:
    """One change; the claimer is the dead one, or the living one from attempt 2 on."""
    worker = DEAD if attempt == 1 else LIVING
    return Change(revision, "page", ver, before, after, attempt, crashes, None, None, at, worker=worker)


HISTORY = [
    change(1, 1, None, "pending", 0.0, attempt=0),
    change(1, 2, "pending", "processing", 1.0),
    change(1, 3, "processing", "pending", 5.0, crashes=1),  # rescued
    change(1, 4, "pending", "processing", 6.5, attempt=2, crashes=1),
    change(1, 5, "processing", "completed", 7.0, attempt=2, crashes=1),
    change(2, 1, "pending", "processing", 2.0),
    change(2, 2, "processing", "completed", 4.0),  # its holder's last words
    change(3, 1, "pending", "processing", 2.0),
    change(3, 2, "processing", "pending", 4.5, attempt=0),  # given back
    change(4, 1, "pending", "processing", 2.0),
    change(4, 2, "processing", "pending", 4.2),  # an attempt that failed of itself
]


def test_claims_and_their_ends() -> None:
    """A claim was taken from its holder where an attempt is given back or a crash counted, and nowhere else."""
    assert list(recovery.claims(HISTORY)) == [
        Claim(1, DEAD, 1.0, 5.0, True),
        Claim(1, LIVING, 6.5, 7.0, False),
        Claim(2, DEAD, 2.0, 4.0, False),
        Claim(3, DEAD, 2.0, 4.5, True),
        Claim(4, DEAD, 2.0, 4.2, False),
    ]
    assert recovery.again(HISTORY) == [1.5]


@pytest.mark.parametrize("names", [{DEAD}, {"a/1-x/"}])
def test_recoveries_of_who_was_hit(names: set[str]) -> None:
    """Only what they held at that moment counts, from the last hit before it was free."""
    hits = [Hit("stop", frozenset(names), 2.5), Hit("kill", frozenset(names), 3.0), Hit("kill", frozenset(names), 4.8)]
    found = list(recovery.taken(recovery.claims(HISTORY), hits))
    assert [(hit.at, claim.revision) for hit, claim in found] == [(4.8, 1), (3.0, 3)]
    assert recovery.seconds(HISTORY, hits[:2]) == [2.0, 1.5]
    assert recovery.seconds(HISTORY, [Hit("kill", frozenset({LIVING, "a/1-x/W2.1", "a/1-xx/"}), 3.0)]) == []


@pytest.mark.parametrize(
    ("windows", "bound", "plain"),
    [
        ([(0.0, 100.0)], 6.1, True),
        ([(0.0, 5.5), (9.0, 12.0)], 10.1, False),  # too short, so that the next one counts
        ([(9.0, 12.0), (5.2, 100.0)], 6.3, False),
        ([(0.0, 4.0)], float("inf"), False),
    ],
)
def test_the_bound_is_so_long_after_the_lease_as_somebody_is_there(
    windows: list[tuple[float, float]], bound: float, plain: bool
) -> None:
    """A lease, a sweep and two heartbeats after the hit; where nobody is there then, a sweep and two heartbeats after
    somebody is.
    """
    (found,) = recovery.recovered(HISTORY[:5], [Hit("kill", frozenset({DEAD}), 3.0)], windows, PROMISE)
    assert (found.seconds, found.plain) == (2.0, plain)
    assert found.bound == pytest.approx(bound)
    assert found.late == pytest.approx(5.0 - bound)


def test_holes() -> None:
    """What is left of windows beside outages and pauses."""
    assert recovery.without([(0.0, 10.0), (20.0, 30.0)], [(2.0, 3.0), (9.0, 21.0), (25.0, 99.0)]) == [
        (0.0, 2.0),
        (3.0, 9.0),
        (21.0, 25.0),
    ]


def test_when_a_keeper_could_free_what_others_held(tmp_path: Path) -> None:
    """From a lease after it connected until it lost its connection, was hit, or stood still."""
    host = Daemon(None, tmp_path)
    offs = (0, JUMP, -JUMP, 0, 0)  # its clock is set meanwhile
    told = [(10, "keeper.connected"), (20, "database.lost"), (21, "keeper.connected")]
    told += [(57, "keeper.connected"), (60, "keeper.connected")]
    host.log.write_text("".join(line(START + at + off, event) for (at, event), off in zip(told, offs, strict=True)))
    deeds = [
        Deed("kill_worker", 0, 12, 13),
        Deed("jump_clock", 0, 13, 13),
        Deed("kill_keeper", 1, 12, 13),
        Deed("freeze_host", 0, 30, 34),  # it kept its connection
        Deed("cut_both", 0, 40, 43),  # and now, though the first packets are late
        Deed("kill_keeper", 0, 50, 50.1),
        Deed("freeze_host", 0, 52, 55),  # nothing is there that could go on
        Deed("restart_host", 0, 56, 59),  # what connects meanwhile ends with it
    ]
    deeds = [replace(deed, since=START + deed.since, until=START + deed.until) for deed in deeds]
    found = [(since - START, until - START) for since, until in recovery.windows(host, 0, deeds, 2.0)]
    assert found == [(12, 20), (23, 30), (34, 40), (46, 50), (62, float("inf"))]


def line(at: float, event: str) -> str:
    """A line of a keeper's log."""
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    return json.dumps({"event": event, "role": "keeper", "timestamp": moment}) + "\n"


def test_when_something_begins_again() -> None:
    """From the end of a deed until a revision begins on its host, or anywhere; not where other trouble came first."""
    starts = [change(1, 1, "pending", "processing", 5.0), change(2, 1, "pending", "processing", 9.0, attempt=2)]
    deeds = [Deed("kill_host", 0, 1, 2), Deed("kill_host", 1, 2, 3), Deed("kill_worker", 0, 3, 3)]
    deeds.append(Deed("pause", None, 7, 8))
    names = [frozenset({"a/1-x/"}), frozenset({"b/2-y/"})]
    assert recovery.begun(starts, deeds, names) == {"kill_host": [3.0], "pause": [1.0]}


def test_parts() -> None:
    """The 99th percentile of few values is the greatest."""
    assert (part([], 0.99), part([1.0], 0.5), part([1.0, 2.0, 3.0], 0.5), part([1.0, 2.0, 3.0], 0.99)) == (0, 1, 2, 3)


MEASURED = """
def test_one(recoveries):
    recoveries.note("F99 killed", [0.5, 0.25, 1.0], 3.1)
    recoveries.say("a word")

def test_two(recoveries):
    recoveries.note("nothing", [])
    assert False
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_ends_with_what_was_measured(tmp_path: Path, processes: str) -> None:
    """Each note has a line before pytest's own summary, whoever of several processes measured, whether tests failed."""
    (tmp_path / "test_it.py").write_text(MEASURED)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "tests.recoveries", "-n", processes]
    words += ["--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert [each for each in lines if each.endswith(")") and "test_it.py::" in each] == [
        "recovery F99 killed n=3 p50=0.50 p99=1.00 promised=3.1 (test_it.py::test_one)",
        "a word (test_it.py::test_one)",
        "recovery nothing n=0 p50=0.00 p99=0.00 (test_it.py::test_two)",
    ]
    assert "1 failed, 1 passed" in lines[-1]
