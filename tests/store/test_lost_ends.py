"""What a worker says to be lost after a failover: what it wrote and the new primary does not know, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.store.driving import Held, Session, done
from workerpool.core.origin import Origin
from workerpool.core.outcome import Outcome
from workerpool.store.line import Line
from workerpool.worker.ledger import MOST, Ledger

OLD, NEW, OTHER = Origin(7, 1), Origin(7, 2), Origin(8, 1)


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    """A worker's view of the queue."""
    with Session(database) as made:
        yield made


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """A worker's connection."""
    made = Line(database, "workerpool", "test")
    made.open()
    try:
        yield made
    finally:
        made.close()


def ended(session: Session, *items: str, verdict: str = "completed") -> list[Outcome]:
    """The outcomes that were written of a new revision for each of the items."""
    session.insert(*items)
    held = session.turn(how_many=len(items))
    outcomes = [outcome(each, verdict) for each in held]
    session.turn(*outcomes)
    return outcomes


def outcome(held: Held, verdict: str) -> Outcome:
    """An outcome of that kind."""
    return done(held) if verdict == "completed" else Outcome(held.id, held.token, "failed", message="no", kind="error")


def rewrite(session: Session, text: str, *ids: int) -> None:
    """Let rows be as a standby has them that missed what came last: no trigger of ours sees that come."""
    with session.connection.transaction():
        session.sql("ALTER TABLE {schema}.revisions DISABLE TRIGGER USER")
        session.sql(f"{text} WHERE id = ANY (%s)", list(ids))
        session.sql("ALTER TABLE {schema}.revisions ENABLE TRIGGER USER")


def set_back(session: Session, revision: int, columns: str) -> None:
    """Let the new primary not know that a revision has ended."""
    ended = "completed_at = NULL, result = NULL, revision_number = NULL"
    rewrite(session, f"UPDATE {{schema}}.revisions SET {ended}, {columns}", revision)


def met(ledger: Ledger, line: Line, origin: Origin | None) -> list[tuple[list[int], list[int]]]:
    """What is said when a server is reached."""
    line.origin = origin
    with capture_logs() as said:
        ledger.meet(line)
    return [(each["again"], each["missing"]) for each in said if each["event"] == "revision.lost"]


def test_what_the_new_primary_does_not_know_is_said_once(session: Session, line: Line) -> None:
    """An end whose row is pending, processing, or claimed and ended by another claim since, has a line in its log; of
    a revision that is not there the id is said; one that is there as it was is not named.
    """
    kept, pending, processing, again, missing = ended(session, "a", "b", "c", "d", "e")
    ledger = Ledger("w1")
    assert met(ledger, line, OLD) == []
    ledger.note([kept, pending, processing, again, missing])
    set_back(session, pending.revision_id, "status = 'pending', claim_token = NULL, attempt = 0, started_at = NULL")
    lease = "worker_id = 'w1', lease_expires_at = now() + interval '1 minute'"
    set_back(session, processing.revision_id, f"status = 'processing', {lease}")
    rewrite(session, "UPDATE {schema}.revisions SET claim_token = gen_random_uuid()", again.revision_id)
    rewrite(session, "DELETE FROM {schema}.revisions", missing.revision_id)
    lost = [pending.revision_id, processing.revision_id, again.revision_id]
    assert met(ledger, line, NEW) == [(lost, [missing.revision_id])]
    lines = session.sql("SELECT revision_id, level, message FROM {schema}.execution_log ORDER BY revision_id")
    assert [(each[0], each[1]) for each in lines] == [(each, "warning") for each in lost]
    assert all(
        "worker w1 wrote was lost by a failover of the database, from timeline 1 to 2" in each[2] for each in lines
    )
    assert met(ledger, line, NEW) == []
    assert met(ledger, line, Origin(7, 3)) == [], "what was said to be lost is said once"


def test_what_somebody_did_is_not_said_to_be_lost(session: Session, line: Line) -> None:
    """A failed revision that an operator let run again since, and what is gone while the server stays the same."""
    failed, deleted = ended(session, "a", "b", verdict="failed")
    ledger = Ledger("w1")
    met(ledger, line, OLD)
    ledger.note([failed, deleted])
    assert session.sql("SELECT answer FROM {schema}.retry(%s, 'eve')", [failed.revision_id]) == [("retried",)]
    session.sql(f"DELETE FROM {{schema}}.revisions WHERE id = {deleted.revision_id}")
    assert met(ledger, line, OLD) == []
    assert met(ledger, line, NEW) == [([], [deleted.revision_id])]


def test_what_an_operator_did_before_does_not_hide_a_loss(session: Session, line: Line) -> None:
    """A revision that was let run again, and ended after that: that end was lost."""
    *_, end = ended(session, "a", "b", "c")  # (no event of another test has this one's id: they stay on record)
    ledger = Ledger("w1")
    met(ledger, line, OLD)
    ledger.note([end])
    event = "INSERT INTO {schema}.control_events (control, action, actor, target, created_at) "
    session.sql(event + "VALUES ('revision', 'pending', 'eve', %s, now() - interval '1 minute')", str(end.revision_id))
    set_back(session, end.revision_id, "status = 'pending', claim_token = NULL")
    assert met(ledger, line, NEW) == [([end.revision_id], [])]


def test_another_cluster_is_not_compared(session: Session, line: Line) -> None:
    """Nor one that does not say which it is: its ids may mean other revisions."""
    (end,) = ended(session, "a")
    ledger = Ledger("w1")
    met(ledger, line, OLD)
    ledger.note([replace(end, revision_id=4711)])
    assert met(ledger, line, None) == []
    assert met(ledger, line, OTHER) == []


def test_the_memory_is_bounded(session: Session, line: Line) -> None:
    """However many ends a worker writes: it remembers the latest, and the comparison of all of them takes no second."""
    (end,) = ended(session, "a")
    ledger = Ledger("w1")
    met(ledger, line, OLD)
    for number in range(3):
        ledger.note([replace(end, revision_id=10_000 * number + n) for n in range(1, 10_000)])
    begun = time.monotonic()
    ((again, missing),) = met(ledger, line, NEW)
    assert time.monotonic() - begun < 5.0
    assert again == []
    assert missing[0] == 10_000 * 2 + 10_000 - MOST
