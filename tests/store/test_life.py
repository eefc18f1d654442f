"""What operators and handlers do to revisions beside running them: cancel, retry, halt, follow-ups …"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.store.driving import Held, Session, Waiting, blocked, done
from workerpool.core.outcome import Outcome


@pytest.fixture
def worker(database: str) -> Iterator[Session]:
    """A worker."""
    with Session(database, "w1") as session:
        yield session


@pytest.fixture
def other(database: str) -> Iterator[Session]:
    """Another worker, or an operator."""
    with Session(database, "w2") as session:
        yield session


def outcome(held: Held, verdict: Any, delay: float = 0.0) -> Outcome:
    """An outcome with a message."""
    return Outcome(
        held.id, held.token, verdict, message="why", kind="error", delay=timedelta(seconds=delay), crashed=False
    )


def cancel(session: Session, *ids: int) -> list[tuple[int, str, str | None]]:
    """Cancel as the verb does."""
    return session.sql("SELECT * FROM {schema}.cancel(%s, 'not wanted', 'eve')", list(ids))


def retry(session: Session, *ids: int, append: bool = False) -> dict[int, str]:
    """Retry as the verb does."""
    rows = session.sql("SELECT id, answer FROM {schema}.retry(%s, 'eve', %s)", list(ids), append)
    return {row[0]: row[1] for row in rows}


def status(session: Session, *ids: int) -> list[str]:
    """The status of each."""
    rows = dict(session.sql("SELECT id, status::text FROM {schema}.revisions"))
    return [rows[each] for each in ids]


def events(session: Session) -> list[tuple[str, str, str | None]]:
    """What operators did, beyond what the rows of the same module's other tests left."""
    return session.sql("SELECT action, actor, target FROM {schema}.control_events ORDER BY id DESC LIMIT 20")


def test_cancel_tells_what_became_of_each(worker: Session) -> None:
    """What has not started ends at once and its item goes on; what runs is asked; an end stays."""
    first, second, third = worker.insert("a", "a", "a")
    (draft,) = worker.insert("b", status="draft")
    (held,) = worker.turn()
    assert worker.turn() == []
    assert worker.rows()[second] == ("pending", "behind")
    assert cancel(worker, first, second, draft, 4711) == [
        (first, "asked", "processing"),
        (second, "cancelled", "cancelled"),
        (draft, "cancelled", "cancelled"),
        (4711, "missing", None),
    ]
    (next_one,) = worker.turn(done(held), how_many=5)
    assert next_one.id == third, "the cancelled one is not waited for"
    assert cancel(worker, first) == [(first, "ended", "completed")]
    assert status(worker, first, second, draft) == ["completed", "cancelled", "cancelled"]
    assert ("cancel", "eve", str(first)) in events(worker)


@pytest.mark.parametrize("verdict", ["retried", "snoozed", "released", "failed"])
def test_what_was_asked_to_cancel_and_did_not_complete_is_cancelled(worker: Session, verdict: str) -> None:
    """P1: nothing that somebody asked to cancel is tried again, whatever its worker makes of it; its item goes on."""
    first, second = worker.insert("a", "a")
    (held,) = worker.turn()
    worker.sql("UPDATE {schema}.revisions SET cancel_requested_at = now() WHERE id = %s", first)
    claimed = worker.turn(outcome(held, verdict, delay=60), how_many=5)
    assert [each.id for each in claimed] == [second]
    row = worker.sql("SELECT status, error_kind, parked, completed_at IS NULL FROM {schema}.revisions WHERE id = 1")
    assert row == [("cancelled", "cancelled", None, False)]


def test_cancel_and_settle_at_the_same_moment(worker: Session, other: Session, connection: psycopg.Connection) -> None:
    """Exactly one wins: a cancel that waits for a settlement finds the revision ended, and says so."""
    (first,) = worker.insert("a")
    (held,) = worker.turn()
    worker.begin()
    worker.settle(done(held))
    waiting = Waiting(lambda: cancel(other, first))
    assert blocked(connection, other) == "advisory"
    worker.commit()
    assert waiting.result() == [(first, "ended", "completed")]


def test_stamps_of_plain_sql_are_carried_out(worker: Session) -> None:
    """R9: a stamp by SQL ends what has not started; what runs is answered, so that its worker can be asked."""
    first, second, third = worker.insert("a", "a", "b")
    (held,) = worker.turn()
    worker.sql("UPDATE {schema}.revisions SET cancel_requested_at = now() WHERE id IN (1, 2)")
    assert worker.sql("SELECT * FROM {schema}.carry_out_cancels(100)") == [(first, "w1", held.token)]
    assert status(worker, first, second, third) == ["processing", "cancelled", "pending"]
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="does not change"):
        worker.sql("UPDATE {schema}.revisions SET cancel_requested_at = clock_timestamp() WHERE id = 2")


def test_stamps_are_carried_out_without_waiting(worker: Session, other: Session) -> None:
    """R9: an item that somebody else holds is left for the next round; the others are not kept."""
    worker.insert("a", "b")
    worker.begin()
    worker.sql("SELECT {schema}.lock_items('{a}')")
    other.sql("UPDATE {schema}.revisions SET cancel_requested_at = now()")
    other.sql("SET statement_timeout = '2s'")
    other.sql("SELECT * FROM {schema}.carry_out_cancels(100)")
    assert status(other, 1, 2) == ["pending", "cancelled"]


def test_snooze_is_not_counted(worker: Session) -> None:
    """A snoozed attempt has its attempt back, and the revision waits in its place."""
    worker.insert("a", "a")
    (held,) = worker.turn()
    assert worker.turn(outcome(held, "snoozed", delay=60), how_many=5) == []
    assert worker.sql("SELECT attempt, parked FROM {schema}.revisions ORDER BY id") == [(0, "due"), (0, "behind")]


def test_failed_revision_halts_its_item_where_its_handler_says_so(worker: Session) -> None:
    """After the last failure: halt. The successor waits for the unhalt; other items do not; a retry runs first."""
    worker.sql(
        "INSERT INTO {schema}.workers (id, manager_id, host, slot, generation, worker_pid, handlers, halting) "
        "VALUES ('w1', 'm', 'h', 'W1', 1, 1, '{default}', '{default}')"
    )
    first, second, other_item = worker.insert("a", "a", "b")
    held = {each.item: each for each in worker.turn(how_many=5)}
    assert worker.turn(outcome(held["a"], "failed"), how_many=5) == []
    reason = worker.sql("SELECT halt_reason FROM {schema}.items WHERE halted_at IS NOT NULL")
    assert reason == [(f"revision {first} failed: why",)]
    assert worker.turn(done(held["b"]), how_many=5) == []
    assert retry(worker, first) == {first: "retried"}
    assert worker.sql("SELECT * FROM {schema}.items WHERE halted_at IS NOT NULL") == []
    (again,) = worker.turn(how_many=5)
    assert (again.id, again.attempt) == (first, 1)
    assert [each.id for each in worker.turn(outcome(again, "failed"), how_many=5)] == []
    assert worker.sql("SELECT {schema}.unhalt('a', 'eve'), {schema}.unhalt('a', 'eve')") == [(True, False)]
    assert [each.id for each in worker.turn(how_many=5)] == [second]
    assert status(worker, first, other_item) == ["failed", "completed"]


def test_retry_is_refused_where_its_place_is_gone(worker: Session) -> None:
    """Retrying what later revisions of the item have run past is refused; a copy at the end is not."""
    first, second = worker.insert("a", "a")
    (held,) = worker.turn()
    (later,) = worker.turn(outcome(held, "failed"), how_many=5)
    assert later.id == second
    assert retry(worker, first, second, 99) == {99: "missing", second: "not_ended", first: "has_successors"}
    worker.settle(done(later))
    assert retry(worker, first, second) == {second: "completed", first: "has_successors"}
    assert retry(worker, first, append=True) == {first: "appended"}
    (copy,) = worker.turn()
    assert copy.id == 3
    assert worker.sql("SELECT metadata FROM {schema}.revisions WHERE id = 3") == [({"retries": first},)]


def test_two_failures_in_a_row_are_retried_in_order(worker: Session) -> None:
    """Retried together, both run again, the earlier one first."""
    worker.insert("a", "a")
    (first,) = worker.turn()
    (second,) = worker.turn(outcome(first, "failed"))
    worker.settle(outcome(second, "failed"))
    assert retry(worker, 1, 2) == {1: "retried", 2: "retried"}
    (again,) = worker.turn(how_many=5)
    assert again.id == 1
    assert [each.id for each in worker.turn(done(again), how_many=5)] == [2]


def test_drafts_take_part_when_queued(worker: Session) -> None:
    """A draft waits for nobody and keeps nobody; once queued it has its place by its id."""
    (draft,) = worker.insert("a", status="draft")
    (first,) = worker.insert("a")
    answers = worker.sql("SELECT answer FROM {schema}.queue_drafts(%s, 'eve')", [draft, first, 77])
    assert answers == [("queued",), ("not_a_draft",), ("missing",)]
    assert [each.id for each in worker.turn(how_many=5)] == [draft]


def test_edit_changes_what_has_not_started(worker: Session) -> None:
    """Payload, priority and time of what waits can be changed; what was postponed lets its item go on."""
    worker.insert("a", "a")
    change = "SELECT {schema}.edit(%s, 'eve', %s::jsonb, %s::smallint, %s::timestamptz)"
    assert worker.turn(how_many=0) == []
    assert worker.sql(change, 1, '{"x": 1}', 7, "2100-01-01") == [("edited",)]
    assert worker.sql("SELECT payload, priority, status FROM {schema}.revisions WHERE id = 1") == [
        ({"x": 1}, 7, "scheduled")
    ]
    (held,) = worker.turn(how_many=5)
    assert held.id == 2
    assert worker.sql(change, 2, None, 1, None) == [("started",)]
    assert worker.sql(change, 1, None, None, "2000-01-01") == [("edited",)]
    assert [each.id for each in worker.turn(done(held), how_many=5)] == [1]
    assert worker.sql(change, 2, None, 1, None) == [("ended",)]
    assert worker.sql(change, 99, None, 1, None) == [("missing",)]


def test_purge_deletes_an_item_unless_it_runs(worker: Session) -> None:
    """All of an item goes, its log and original too; never from under a worker."""
    worker.insert("a", "a", "b")
    (held,) = worker.turn()
    assert worker.sql("SELECT {schema}.purge('a', 'eve')") == [(-1,)]
    worker.settle(done(held))
    assert worker.sql("SELECT {schema}.purge('a', 'eve')") == [(2,)]
    assert list(worker.rows()) == [3]


def follow(worker: Session, held: Held, item: str, fires_on: str, attempt: int | None = None) -> list[Any]:
    """Say what is to follow an attempt."""
    return worker.sql(
        "SELECT {schema}.then_enqueue(%s, %s, %s, %s, 'default', '{}', %s)",
        held.id,
        held.token,
        attempt or held.attempt,
        item,
        fires_on,
    )


def test_follow_ups_are_enqueued_with_the_outcome(worker: Session, other: Session) -> None:
    """Durable continuations: in the transaction of the outcome, those that fit it, once."""
    worker.insert("a")
    (held,) = worker.turn()
    for item, fires_on in (("on-completed", "completed"), ("on-failed", "failed"), ("on-any", "any")):
        assert follow(worker, held, item, fires_on) != [(None,)]
    worker.begin()
    worker.settle(done(held))
    worker.sql("ROLLBACK")
    assert len(other.rows()) == 1
    worker.settle(done(held))
    rows = other.sql("SELECT item_key, metadata FROM {schema}.revisions WHERE id > 1 ORDER BY id")
    assert rows == [(item, {"source": "continuation", "follows": 1}) for item in ("on-completed", "on-any")]
    assert follow(worker, held, "late", "any") == [(None,)], "an attempt that is over says nothing any more"


def test_follow_ups_of_a_retry_replace_those_of_the_attempt_before(worker: Session) -> None:
    """What an attempt asked for counts only if no later attempt asked for anything; a cancel fires too."""
    worker.insert("a", "b")
    a, b = worker.turn(how_many=5)
    follow(worker, a, "first", "any")
    follow(worker, b, "kept", "cancelled")
    worker.settle(outcome(a, "retried"), outcome(b, "retried"))
    (again,) = worker.turn()
    assert again.id == a.id
    follow(worker, again, "second", "any")
    worker.settle(done(again))
    cancel(worker, b.id)
    assert worker.sql("SELECT item_key FROM {schema}.revisions WHERE id > 2 ORDER BY id") == [("second",), ("kept",)]


def test_handler_runs_no_more_at_once_than_its_limit(worker: Session, other: Session) -> None:
    """A limit of what runs at once, counted over all workers; a full handler costs others nothing and nobody spins."""
    for n in range(6):
        worker.insert(f"item{n}", handler="few")
    worker.insert("other", handler="many")
    both, limits = ("few", "many"), (2, None)
    claimed = worker.turn(how_many=1, handlers=both, limits=limits)
    claimed += other.turn(how_many=10, handlers=both, limits=limits)
    assert sorted(each.id for each in claimed) == [1, 2, 7]
    assert worker.turn(how_many=10, handlers=both, limits=limits) == []
    assert worker.answer == "empty"
    held = next(each for each in claimed if each.id == 1)
    assert [each.id for each in worker.turn(done(held), how_many=10, handlers=both, limits=limits)] == [3]


def test_two_claimers_never_exceed_a_limit_together(worker: Session, other: Session) -> None:
    """While one claimer counts, another leaves the handler alone and comes back: two counts cannot both find room."""
    worker.insert("a", "b", handler="few")
    worker.begin()
    assert len(worker.turn(how_many=5, handlers=("few",), limits=(1,))) == 1
    assert other.turn(how_many=5, handlers=("few",), limits=(1,)) == []
    assert other.answer == "contended"
    worker.commit()
    assert other.turn(how_many=5, handlers=("few",), limits=(1,)) == []
    assert other.answer == "empty"


def test_limit_holds_for_successors_too(worker: Session) -> None:
    """A successor that the turn would take directly waits for room like any other."""
    worker.insert("a", "a", "b", handler="few")
    (held,) = worker.turn(handlers=("few",), limits=(2,))
    (second,) = worker.turn(handlers=("few",), limits=(2,), how_many=5)
    assert second.item == "b"
    assert worker.turn(done(held), handlers=("few",), limits=(1,), how_many=5) == []
    (third,) = worker.turn(done(second), handlers=("few",), limits=(1,), how_many=5)
    assert (third.item, third.id) == ("a", 2)
