"""The queue's functions against a small model of them: whatever is done in whatever order, both agree.

One client acts at a time here, apart from one transaction that inserts and commits late; real races are in
test_races.py and test_many_processes.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.store.driving import Held, Session
from workerpool.core.outcome import Outcome

ITEMS = st.sampled_from("abcd")
WORKERS = st.sampled_from(("w1", "w2"))
VERDICTS = st.sampled_from(("completed", "completed", "failed", "cancelled", "retried", "later", "crashed", "released"))
ENDS = ("completed", "failed", "cancelled")


@dataclass(slots=True)
class Row:
    """What the model knows of a revision."""

    id: int
    item: str
    handler: str
    priority: int
    status: str = "pending"
    waits: bool = False
    """It backs off, or it is scheduled, and its time has not come."""
    attempt: int = 0
    crashes: int = 0
    number: int | None = None
    token: UUID | None = None


class Model:
    """The queue as DESIGN.md describes it, with no parking, no locks and no indexes."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}

    def heads(self, handlers: tuple[str, ...]) -> list[Row]:
        """Of each item with nothing processing the lowest pending revision, if its time has come; best first."""
        found = []
        for item in {row.item for row in self.rows.values()}:
            line = sorted((r for r in self.rows.values() if r.item == item), key=lambda r: r.id)
            pending = [r for r in line if r.status == "pending"]
            if pending and not any(r.status == "processing" for r in line):
                head = pending[0]
                if not head.waits and head.handler in handlers:
                    found.append(head)
        return sorted(found, key=lambda r: (-r.priority, r.id))

    def claim(self, handlers: tuple[str, ...], how_many: int, token: UUID) -> list[Row]:
        """Start the best heads; one with a crash behind it goes alone."""
        for row in self.rows.values():
            if row.status == "scheduled" and not row.waits:
                row.status = "pending"
        taken = self.heads(handlers)[:how_many]
        if taken and taken[0].crashes:
            taken = taken[:1]
        elif len(taken) > 1:
            taken = [row for row in taken if not row.crashes]
        for row in taken:
            row.status, row.token = "processing", token
            row.attempt += 1
        return taken

    def settle(self, row: Row, verdict: str) -> None:
        """End the attempt of *row*."""
        match verdict:
            case "completed":
                numbers = [r.number for r in self.rows.values() if r.item == row.item and r.number]
                row.status, row.number = "completed", max(numbers, default=0) + 1
            case "failed" | "cancelled":
                row.status = verdict
            case "released":
                row.status, row.token = "pending", None
                row.attempt -= 1
            case "retried" | "later" | "crashed":
                row.status, row.token, row.waits = "pending", None, verdict == "later"
                row.crashes += verdict == "crashed"


def outcome(row: int, token: UUID, verdict: str) -> Outcome:
    """The outcome that a worker writes for *verdict*; back-offs are over at once, or never."""
    match verdict:
        case "completed":
            return Outcome(row, token, "completed", result='{"x": 1}')
        case "failed" | "cancelled":
            return Outcome(row, token, verdict, message=verdict, kind="error")
        case "released":
            return Outcome(row, token, "released")
        case _:
            delay = timedelta(hours=1) if verdict == "later" else timedelta(microseconds=1)
            return Outcome(row, token, "retried", message="no", kind="error", delay=delay, crashed=verdict == "crashed")


class Queue(RuleBasedStateMachine):
    """The queue and its model, side by side."""

    session: Session
    late: Session

    def __init__(self) -> None:
        super().__init__()
        self.session.sql("TRUNCATE {schema}.revisions, {schema}.execution_log RESTART IDENTITY CASCADE")
        self.model = Model()
        self.uncommitted: list[Row] = []
        self.ghosts: list[tuple[int, UUID]] = []

    def teardown(self) -> None:
        """End the late transaction, then drain: everything that is not put off must end, in order."""
        if self.uncommitted:
            self.commit_late(True)
        for row in [r for r in self.model.rows.values() if r.status == "processing"]:
            self.settle_one(row, "completed")
        for row in self.model.rows.values():
            if row.waits:
                self.make_due(row)
        for _ in range(2 * len(self.model.rows) + 2):
            self.turn("w1", ("x", "y"), 60, "completed")
            self.agrees()
            if all(row.status in ENDS for row in self.model.rows.values()):
                break
        else:
            raise AssertionError("the queue does not become empty")

    @rule(items=st.lists(ITEMS, min_size=1, max_size=4), handler=st.sampled_from("xxy"), priority=st.integers(-1, 1))
    def insert(self, items: list[str], handler: str, priority: int) -> None:
        """One statement inserts several rows."""
        for id_, item in zip(self.session.insert(*items, handler=handler, priority=priority), items, strict=True):
            self.model.rows[id_] = Row(id_, item, handler, priority)

    @rule(item=ITEMS)
    def insert_scheduled(self, item: str) -> None:
        """A row that is due in an hour."""
        rows = self.session.sql(
            "INSERT INTO {schema}.revisions (item_key, handler, run_at) VALUES (%s, 'x', now() + interval '1 hour') "
            "RETURNING id",
            item,
        )
        self.model.rows[rows[0][0]] = Row(rows[0][0], item, "x", 0, status="scheduled", waits=True)

    @rule(items=st.lists(ITEMS, min_size=1, max_size=2))
    def insert_late(self, items: list[str]) -> None:
        """A transaction that takes its ids now and commits later."""
        if not self.uncommitted:
            self.late.begin()
        for id_, item in zip(self.late.insert(*items, handler="x"), items, strict=True):
            self.uncommitted.append(Row(id_, item, "x", 0))

    @precondition(lambda self: self.uncommitted)
    @rule(keeps=st.booleans())
    def commit_late(self, keeps: bool) -> None:
        """It commits, or rolls back."""
        self.late.sql("COMMIT" if keeps else "ROLLBACK")
        if keeps:
            self.model.rows |= {row.id: row for row in self.uncommitted}
        self.uncommitted = []

    @rule(
        worker=WORKERS,
        handlers=st.sampled_from((("x",), ("y",), ("x", "y"))),
        how_many=st.integers(1, 4),
        verdict=VERDICTS,
    )
    def turn(self, worker: str, handlers: tuple[str, ...], how_many: int, verdict: str) -> None:
        """A worker settles everything that it holds, all with one verdict, and claims."""
        self.session.name = worker
        held = [r for r in self.model.rows.values() if r.status == "processing" and self.owner(r) == worker]
        outcomes = [outcome(row.id, self.token(row), verdict) for row in held]
        for row in sorted(held, key=lambda r: r.id):
            self.model.settle(row, verdict)
        claimed = self.session.turn(*outcomes, how_many=how_many, handlers=handlers)
        assert self.session.settled == {row.id for row in held}
        token = claimed[0].token if claimed else uuid4()
        expected = self.model.claim(handlers, how_many, token)
        self.owners = {**self.owners, **{row.id: worker for row in expected}}
        assert {(c.id, c.attempt, c.crash_count) for c in claimed} == {(r.id, r.attempt, r.crashes) for r in expected}
        assert claimed or self.session.answer == "empty"
        self.fences_rise(claimed)

    owners: dict[int, str] = {}  # noqa: RUF012
    highest = 0

    def owner(self, row: Row) -> str:
        """Who claimed *row* last."""
        return self.owners[row.id]

    def token(self, row: Row) -> UUID:
        """The token of its claim."""
        assert row.token is not None
        return row.token

    def fences_rise(self, claimed: list[Held]) -> None:
        """Each claim has a higher fence than every claim before it."""
        if claimed:
            assert min(c.fence for c in claimed) > Queue.highest
            Queue.highest = max(c.fence for c in claimed)

    def pick(self, data: st.DataObject, *statuses: str) -> Row | None:
        """Any revision in one of *statuses*."""
        found = [row for row in self.model.rows.values() if row.status in statuses]
        return data.draw(st.sampled_from(found)) if found else None

    def settle_one(self, row: Row, verdict: str) -> None:
        """Settle one attempt, without a claim after it."""
        token = self.token(row)
        assert self.session.settle(outcome(row.id, token, verdict)) == {row.id}
        self.model.settle(row, verdict)
        self.ghosts.append((row.id, token))

    @rule(data=st.data(), verdict=VERDICTS)
    def settle(self, data: st.DataObject, verdict: str) -> None:
        """An attempt ends, however."""
        if row := self.pick(data, "processing"):
            self.settle_one(row, verdict)

    @rule(data=st.data(), expired=st.booleans())
    def rescue(self, data: st.DataObject, expired: bool) -> None:
        """A keeper takes a claim back, which succeeds exactly if its lease ran out; its owner becomes a ghost."""
        if row := self.pick(data, "processing"):
            token = self.token(row)
            if expired:
                self.session.sql(
                    "UPDATE {schema}.revisions SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE id = %s",
                    row.id,
                )
            taken = self.session.settle(outcome(row.id, token, "crashed"), only_expired=True)
            assert taken == ({row.id} if expired else set())
            if expired:
                self.model.settle(row, "crashed")
                self.ghosts.append((row.id, token))

    @precondition(lambda self: self.ghosts)
    @rule(data=st.data(), verdict=VERDICTS)
    def ghost(self, data: st.DataObject, verdict: str) -> None:
        """Somebody who lost its claim, or had settled it already, settles again: nothing is written."""
        id_, token = data.draw(st.sampled_from(self.ghosts))
        assert self.session.settle(outcome(id_, token, verdict)) == set()

    @rule(data=st.data())
    def dismiss(self, data: st.DataObject) -> None:
        """An operator ends a revision: only one that has not started."""
        if row := self.pick(data, "pending", "scheduled", "processing", "completed"):
            expected = {row.id} if row.status in {"pending", "scheduled"} else set()
            assert self.session.dismiss(row.id) == expected
            if expected:
                row.status, row.waits = "cancelled", False

    @rule(data=st.data())
    def somebody_makes_it_due(self, data: st.DataObject) -> None:
        """The time of a back-off or a schedule has come."""
        waiting = [row for row in self.model.rows.values() if row.waits]
        if waiting:
            self.make_due(data.draw(st.sampled_from(waiting)))

    def make_due(self, row: Row) -> None:
        """By SQL, as an operator would."""
        self.session.sql("UPDATE {schema}.revisions SET run_at = clock_timestamp() WHERE id = %s", row.id)
        row.waits = False

    @invariant()
    def agrees(self) -> None:
        """The table and the model say the same, and no head is stranded."""
        rows = self.session.sql(
            "SELECT id, status::text, attempt, crash_count, revision_number, claim_token "
            "FROM {schema}.revisions ORDER BY id"
        )
        known = sorted(self.model.rows.values(), key=lambda r: r.id)
        due = {row.id for row in known if row.status == "scheduled" and not row.waits}
        assert [(r[0], "due" if r[0] in due else r[1], *r[2:5]) for r in rows] == [
            (r.id, "due" if r.id in due else r.status, r.attempt, r.crashes, r.number) for r in known
        ]
        assert all(r[5] == self.model.rows[r[0]].token for r in rows if r[1] == "processing")
        assert self.session.heal() == []


@pytest.fixture
def sessions(database: str) -> Iterator[tuple[Session, Session]]:
    """A worker, and somebody who commits late."""
    with Session(database) as session, Session(database, "late") as late:
        session.sql("SET synchronous_commit = off")
        yield session, late


def test_queue_is_as_the_model(sessions: tuple[Session, Session], connection: psycopg.Connection) -> None:
    """P1, P2, P3, R2, R3, R10, R16, R22: no sequence of verbs departs from the model or strands a head."""
    Queue.session, Queue.late = sessions
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
