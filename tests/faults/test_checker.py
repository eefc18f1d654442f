"""The checkers are checked (FAULTS 2.3): each sees what it is for, and misses each fence that is taken out of the SQL.

The history's own checker has its fabricated histories in ``tests/store/test_many_processes.py``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Databases
from tests.faults.chronicle import Effect, Lease, Run, of_effects, of_leases, of_pauses, of_runs
from tests.store import history, test_many_processes
from tests.store.driving import Session, done
from tests.store.history import Settled, violations
from tests.store.test_many_processes import GOOD, run
from workerpool.core.outcome import Outcome

EFFECTS = [Effect(1, "a", 1, 1), Effect(2, "a", 2, 2)]
RUNS = [
    Run(1, "a", 1, 7, 0.0, 1.0),
    Run(2, "a", 1, 8, 1.5, None),
    Run(2, "a", 2, 7, 2.0, 3.0),
    Run(4, "b", 1, 8, 0.5, 9.0),
]


def test_good_records_have_no_complaint() -> None:
    """Where all is well nothing is said."""
    assert list(of_effects(GOOD, EFFECTS)) == []
    assert list(of_runs(RUNS, {})) == []
    assert list(of_leases([Lease(1, 2.0, 3.0), Lease(1, 3.0, 3.0)])) == []
    assert list(of_pauses(GOOD, [(2.1, 3.4)])) == []


@pytest.mark.parametrize(
    ("effects", "complaint"),
    [
        (EFFECTS[:1], "revision 2: completed without its effect"),
        ([*EFFECTS, Effect(2, "a", 1, 2)], "revision 2: completed by 2, effects of"),
        ([EFFECTS[0], replace(EFFECTS[1], attempt=1)], "revision 2: completed by 2, effects of"),
        ([*EFFECTS, Effect(4, "b", 1, 1)], "revision 4: has an effect and did not complete"),
        ([replace(EFFECTS[0], place=2), replace(EFFECTS[1], place=1)], "number 1 of a, its effect is the 2th"),
    ],
)
def test_an_effect_too_many_too_few_or_out_of_order(effects: list[Effect], complaint: str) -> None:
    """I4, I5."""
    assert any(complaint in said for said in of_effects(GOOD, effects))


def test_two_handlers_of_an_item_at_once() -> None:
    """I3, I6: an overlap is seen, unless the first was a process that had been stopped."""
    overlapping = [replace(RUNS[0], until=1.6), *RUNS[1:]]
    assert "revision 2 began in process 8 0.100 s before 1 ended in 7" in next(of_runs(overlapping, {}))
    assert list(of_runs(overlapping, {7: [0.5]})) == []
    assert list(of_runs(overlapping, {7: [1.7]})) != []  # another process, with its pid


def test_a_lease_that_moves_back() -> None:
    """I17."""
    assert list(of_leases([Lease(5, 3.0, 2.5)])) == ["revision 5: its lease moved back by 0.500 s"]


def test_a_claim_in_a_pause() -> None:
    """I19."""
    assert list(of_pauses(GOOD, [(1.5, 3.0)])) == ["revision 1: claimed 0.500 s after a pause"]


RUNNING = r"WHERE p\.item_key = u\.item_key AND p\.status = 'processing' LIMIT 1\) IS NULL"
HEAD = r"ORDER BY p\.item_key, p\.id LIMIT 1\) = u\.id"
NO_INDEX = "DROP INDEX workerpool.revisions_one_processing"
NO_LOCK = """
CREATE OR REPLACE FUNCTION workerpool.item_lock(item_key text) RETURNS bigint LANGUAGE sql VOLATILE
RETURN (random() * 1e15)::bigint
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A schema without one of its fences, and what is to be said of it: in *function*, *pattern* becomes *instead*."""

    function: str
    pattern: str
    instead: str
    complaint: str
    more: str = "SELECT"


MUTANTS = {
    "attempt": Mutant("turn", r"attempt = r\.attempt \+ 1", "attempt = greatest(r.attempt, 1)", "counted 0 attempts"),
    "number": Mutant("settle", r"1 \+ coalesce\(\(", "2 + coalesce((", "are numbered"),
    "unpark": Mutant("parked_heads", r"r\.parked = 'behind' FOR", "false FOR", "never ended|not done"),
    "order": Mutant("turn", HEAD, "ORDER BY p.item_key, p.id LIMIT 1) > 0", "same time|before", NO_INDEX),
    "one at a time": Mutant("turn", RUNNING, "WHERE false) IS NULL", "processing at the same time", NO_INDEX),
    "one at a time, by its index": Mutant("turn", RUNNING, "WHERE false) IS NULL", "revisions_one_processing"),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_fence_that_is_taken_out_is_missed(
    server: Databases,
    template: str,
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Mutant,
) -> None:
    """Many processes at a queue without one of its fences: the checker, or the constraint behind the fence, says so."""
    monkeypatch.setattr(test_many_processes, "LIMIT", 4.0)
    name = f"workerpool_test_mutant_{seed}"
    server.create(name, template)
    said: list[str] = []
    try:
        with psycopg.connect(server.url(name), autocommit=True) as connection:
            mutate(connection, mutant)
            history.record(connection)
            enqueued, settled = [], []
            # Two have to meet where the fence was: they do not in every run where processors are few.
            for number in range(5):
                folder = tmp_path / str(number)
                folder.mkdir()
                try:
                    more, ended, _ = run(server.url(name), folder, seed + number, 400)
                    enqueued, settled = enqueued + more, settled + ended
                except (AssertionError, IndexError) as error:  # not done, or every worker died
                    said.append(str(error))
                facts = [json.loads(line) for path in folder.glob("*.log") for line in path.read_text().splitlines()]
                said += [fact["error"] for fact in facts if "error" in fact]
                said += violations(history.changes(connection), enqueued, settled)
                if any(re.search(mutant.complaint, each) for each in said):
                    return
    finally:
        server.drop(name)
    pytest.fail(f"the checker did not miss it: {said[:20]}")


def test_a_ghost_that_nothing_keeps_out(database: str) -> None:
    """I2, I4, R16: without the token in the settlement a ghost's outcome is written over the claim of its successor."""
    with (
        psycopg.connect(database, autocommit=True) as connection,
        Session(database, "ghost") as ghost,
        Session(database, "living") as living,
    ):
        mutate(connection, Mutant("settle", r"r\.claim_token = (tokens\[1\]|o\.token)", "true", ""))
        history.record(connection)
        living.insert("a")
        (held,) = ghost.turn(lease=-1)
        rescue = Outcome(held.id, held.token, "retried", message="its lease ran out", kind="crash", crashed=True)
        living.settle(rescue, only_expired=True)
        (again,) = living.turn()
        assert again.id == held.id
        told = [Settled(held.id, str(held.token), "completed", bool(ghost.settle(done(held))))]
        said = violations(history.changes(connection), settled=told)
    assert any("completed was acknowledged and written 0 times" in each for each in said), said


def test_an_item_that_nothing_locks(database: str) -> None:
    """I1, R2: without the item lock a revision that commits while its predecessor settles is parked, and never ends."""
    with (
        psycopg.connect(database, autocommit=True) as connection,
        Session(database, "one") as one,
        Session(database, "two") as two,
    ):
        connection.execute(NO_LOCK)
        history.record(connection)
        two.insert("a")
        (held,) = one.turn()
        one.begin()
        one.settle(done(held))
        two.insert("a")
        assert two.turn() == []
        one.commit()
        assert one.turn() == []
        said = violations(history.changes(connection))
    assert said == [f"revision {held.id + 1}: never ended, it is pending"]


def mutate(connection: psycopg.Connection, mutant: Mutant) -> None:
    """Take the fence out."""
    connection.execute(mutant.more.encode())
    row = connection.execute(
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.proname = %s "
        "AND p.pronamespace = 'workerpool'::regnamespace",
        [mutant.function],
    ).fetchone()
    assert row is not None
    text, count = re.subn(mutant.pattern, mutant.instead, row[0])
    assert count, f"{mutant.function} has no {mutant.pattern}"
    connection.execute(text.encode())


def test_a_pause_that_nobody_looks_at(server: Databases, template: str, database: str) -> None:
    """I19: without the guard in the claim, a claim after a pause's commit is found in the history."""
    with psycopg.connect(database, autocommit=True) as connection, Session(database) as session:
        mutate(connection, Mutant("turn", r"SELECT s\.paused,", "SELECT false,", ""))
        history.record(connection)
        session.insert("a")
        connection.execute(
            "INSERT INTO workerpool.pauses (mode, reason, actor, holder) VALUES ('drain', 'a test', 'eve', 'eve')"
        )
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert row is not None
        assert session.turn()
        assert list(of_pauses(history.changes(connection), [(row[0], float("inf"))]))
