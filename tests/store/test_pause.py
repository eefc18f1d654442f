"""R12 to R14: what a pause forbids, decided where claims are, and who may take it away."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import errors

from tests.conftest import Databases
from tests.store.driving import Session, Waiting, blocked, done
from workerpool.core.outcome import Outcome
from workerpool.store import pausing
from workerpool.store.session import Session as Reader


@pytest.fixture
def database(server: Databases, template: str) -> Iterator[str]:
    """A database of each test's own: versions and records are counted from the beginning."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name, template)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def worker(database: str) -> Iterator[Session]:
    """A worker."""
    with Session(database, "host1/w1") as session:
        yield session


@pytest.fixture
def operator(database: str) -> Iterator[Session]:
    """Somebody who pauses."""
    with Session(database, "w2") as session:
        yield session


@pytest.fixture
def third(database: str) -> Iterator[Session]:
    """A worker on another host."""
    with Session(database, "host2/w1") as session:
        yield session


def pause(session: Session, mode: str = "drain", scope: str = "all", holder: str = "eve") -> int:
    """Pause as the verb does; returns the version."""
    rows = session.sql("SELECT {schema}.pause(%s, %s, 'for a test', 'eve', %s, NULL)", scope, mode, holder)
    return int(rows[0][0])


def resume(session: Session, holder: str | None = "eve") -> int:
    """Resume as the verb does; returns how many pauses were taken away."""
    return int(session.sql("SELECT {schema}.resume(NULL, %s, 'tested', 'eve')", holder)[0][0])


def state(session: Session) -> tuple[object, ...]:
    """What is in force."""
    return session.sql("SELECT paused, mode, reason, actor, version, scopes FROM {schema}.pause_state")[0]


def table(session: Session) -> list[tuple[object, ...]]:
    """The whole queue."""
    return session.sql("SELECT r::text FROM {schema}.revisions r ORDER BY id")


def test_a_paused_claim_touches_no_row(worker: Session, operator: Session) -> None:
    """Nothing is claimed, parked, made due, rescued, healed or failed: the table stays as it is, byte for byte."""
    worker.insert("a", "a", "b")
    (late,) = worker.insert("c")
    held = worker.turn(how_many=1)
    worker.sql(
        "UPDATE {schema}.revisions SET run_at = now() - interval '1 hour', status = 'scheduled' WHERE id = %s", late
    )
    worker.sql("UPDATE {schema}.revisions SET lease_expires_at = now() - interval '1 hour' WHERE status = 'processing'")
    version = pause(operator)
    before = table(worker)
    assert worker.turn() == []
    assert worker.answer == "paused"
    expired = Outcome(held[0].id, held[0].token, "retried", message="its lease ran out", kind="crash", crashed=True)
    assert worker.settle(expired, only_expired=True) == set()
    assert worker.sql("SELECT {schema}.dismiss('{2,3}', 'failed', 'no handler', 'error')") == [([],)]
    worker.sql("SELECT * FROM {schema}.heal('', 1000)")
    assert table(worker) == before
    assert state(operator)[4] == version
    assert resume(operator) == 1
    assert {each.id for each in worker.turn(how_many=10)} == {3, late}
    assert worker.settle(expired, only_expired=True) == {held[0].id}


def test_what_runs_may_settle_and_its_successor_waits(worker: Session, operator: Session) -> None:
    """A drain: the outcome is written, the next of the item, parked behind it, is freed and left for the resume."""
    worker.insert("a", "a")
    held = worker.turn()
    assert worker.turn() == []
    assert worker.rows()[2] == ("pending", "behind")
    pause(operator)
    assert worker.turn(*map(done, held)) == []
    assert (worker.settled, worker.answer) == ({held[0].id}, "paused")
    assert worker.rows() == {1: ("completed", None), 2: ("pending", None)}
    resume(operator)
    assert [each.id for each in worker.turn()] == [2]


def test_a_pause_waits_for_a_running_claim_and_no_claim_comes_after_it(
    connection: psycopg.Connection, worker: Session, operator: Session, third: Session
) -> None:
    """The claim that was first commits before the pause; while the pause waits, others get nothing already."""
    worker.insert("a", "b")
    with worker.transaction():
        first = worker.turn(how_many=1)
        waiting = Waiting(lambda: pause(operator))
        assert blocked(connection, operator) == "advisory"
        assert third.turn() == []
        assert third.answer == "paused"
    assert waiting.result() == 1
    assert len(first) == 1
    assert worker.turn() == []
    started, paused = worker.sql(
        "SELECT max(r.started_at), (SELECT updated_at FROM {schema}.pause_state) FROM {schema}.revisions r"
    )[0]
    assert started < paused


def test_the_proof_sees_a_claim_of_the_same_instant(
    connection: psycopg.Connection, database: str, worker: Session, operator: Session
) -> None:
    """R15: a claim that was under way when the pause was asked for is there when the pause has been granted."""
    worker.insert("a")
    with worker.transaction():
        held = worker.turn()
        waiting = Waiting(lambda: pause(operator))
        assert blocked(connection, operator) == "advisory"
    waiting.result()
    with Reader(database, "workerpool", "test") as reader:
        found = pausing.look(reader)
        assert (found.is_safe, [each["id"] for each in found.running]) == (False, [held[0].id])
        with pytest.raises(pausing.NotSafe, match=f"revision {held[0].id} of a runs on host1/w1 for"):
            pausing.wait_for_safe_state(reader, timedelta(0))
        worker.settle(done(held[0]))
        assert pausing.look(reader).is_safe


def test_a_claim_that_hangs_is_named(worker: Session, operator: Session) -> None:
    """After 5 s the pause gives up, and says who is in its way."""
    worker.insert("a")
    with worker.transaction():
        worker.turn()
        with pytest.raises(errors.LockNotAvailable, match="has not ended within 5 s") as refused:
            pause(operator)
    assert f"pid {worker.pid}" in (refused.value.diag.message_detail or "")
    assert state(operator)[0] is False


def test_the_union_is_what_is_in_force(operator: Session, worker: Session) -> None:
    """Each holder has its own; the stronger mode wins; the version rises with each change, and only then."""
    assert pause(operator, holder="a") == 1
    assert pause(operator, holder="a") == 1, "nothing has changed"
    assert pause(operator, "quiesce", holder="b") == 2
    assert state(operator) == (True, "quiesce", "for a test; for a test", "eve", 2, [])
    assert resume(operator, "b") == 1
    assert state(operator) == (True, "drain", "for a test", "eve", 3, [])
    assert resume(operator, "nobody") == 0
    assert resume(operator, None) == 1
    assert state(operator) == (False, None, None, None, 4, [])
    told = operator.sql("SELECT action, mode, reason, actor, target FROM {schema}.control_events ORDER BY id")
    assert told == [
        ("pause", "drain", "for a test", "eve", "all"),
        ("pause", "quiesce", "for a test", "eve", "all"),
        ("resume", "quiesce", "tested", "eve", "all"),
        ("resume", "drain", "tested", "eve", "all"),
    ]


def test_a_handler_or_a_host_is_paused_alone(worker: Session, operator: Session, third: Session) -> None:
    """The others go on."""
    worker.sql("INSERT INTO {schema}.revisions (item_key, handler) VALUES ('a', 'slow'), ('b', 'default')")
    pause(operator, scope="handler:slow")
    assert [each.id for each in worker.turn(handlers=("default", "slow"))] == [2]
    assert worker.turn(handlers=("slow",)) == []
    assert worker.answer == "paused"
    resume(operator)
    pause(operator, scope="host:host1")
    assert worker.turn(handlers=("slow",)) == []
    assert [each.id for each in third.turn(handlers=("slow",))] == [1]


def test_pause_state_can_be_written_by_hand(worker: Session, operator: Session) -> None:
    """Raw SQL pauses and resumes as the verbs do, recorded, and cannot leave the reason out."""
    worker.insert("a")
    by_hand = "UPDATE {schema}.pause_state SET paused = %s, mode = 'drain', reason = %s, actor = %s"
    operator.sql(by_hand, True, "by hand", "dba")
    assert worker.turn() == []
    assert state(operator)[:5] == (True, "drain", "by hand", "dba", 1)
    operator.sql(by_hand, False, None, "another")
    assert state(operator)[0] is False
    assert operator.sql("SELECT action, actor FROM {schema}.control_events ORDER BY id") == [
        ("pause", "dba"),
        ("resume", "another"),
    ]
    assert len(worker.turn()) == 1
    with pytest.raises(errors.NotNullViolation):
        operator.sql(by_hand, True, None, "dba")
    by_hand = "UPDATE {schema}.pause_state SET paused = true, mode = %s, reason = %s"
    for mode, reason, rule in (("drain", " ", "reason_is_not_empty"), ("freeze", "x", "mode_is_drain_or_quiesce")):
        with pytest.raises(errors.CheckViolation, match=rule):
            operator.sql(by_hand, mode, reason)


def test_a_pause_ends_at_its_time(operator: Session) -> None:
    """Lifted by the keeper's duty, and recorded as such."""
    operator.sql("SELECT {schema}.pause('all', 'drain', 'for now', 'eve', 'eve', clock_timestamp() - interval '1 s')")
    operator.sql(
        "SELECT {schema}.pause('handler:x', 'drain', 'longer', 'eve', 'eve', clock_timestamp() + interval '1 h')"
    )
    assert operator.sql("SELECT {schema}.lift_pauses()") == [(1,)]
    assert state(operator)[0] is False
    assert state(operator)[5] == ["handler:x"]
    last = operator.sql("SELECT action, actor, reason FROM {schema}.control_events ORDER BY id DESC LIMIT 1")
    assert last == [("resume", "workerpool", "its time is over")]
    assert operator.sql("SELECT {schema}.lift_pauses()") == [(0,)]


def test_a_hold_is_left_only_when_nothing_quiesces(worker: Session, operator: Session) -> None:
    """R15: going on is a write that a pause cannot overlook."""
    worker.sql(
        "INSERT INTO {schema}.workers (id, manager_id, host, slot, generation, worker_pid) "
        "VALUES ('host1/w1', 'm', 'host1', 'W1', 1, 1)"
    )
    version = pause(operator, "quiesce")
    assert worker.sql("SELECT {schema}.hold('host1/w1', 7, %s)", version - 1) == [(False,)], "an old version"
    assert worker.sql("SELECT {schema}.hold('host1/w1', 7, %s)", version) == [(True,)]
    seen = "SELECT state, pause_version, current_revision_id FROM {schema}.workers"
    assert worker.sql(seen) == [("paused", version, 7)]
    go_on = "SELECT {schema}.go_on('host1/w1', 'default')"
    assert worker.sql(go_on) == [(False,)]
    with operator.transaction():
        resume(operator)
        assert worker.sql(go_on) == [(False,)], "not yet committed"
    assert worker.sql(go_on) == [(True,)]
    assert worker.sql(seen)[0][0] == "busy"
    pause(operator, "quiesce", scope="handler:default")
    assert worker.sql(go_on) == [(False,)]
