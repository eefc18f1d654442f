"""Every interleaving that PROTOCOL.md names, made to happen on purpose.

A transaction that is to be in the middle of its work is one that has not committed, or one that the test has seen
waiting for a lock in pg_stat_activity.
"""

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import errors

from tests.store.driving import Held, Session, Waiting, blocked, done, until
from workerpool.core.outcome import Outcome


@pytest.fixture
def one(database: str) -> Iterator[Session]:
    """A worker."""
    with Session(database, "w1") as session:
        yield session


@pytest.fixture
def two(database: str) -> Iterator[Session]:
    """Another worker."""
    with Session(database, "w2") as session:
        yield session


@pytest.fixture
def client(database: str) -> Iterator[Session]:
    """Somebody who inserts, or meddles."""
    with Session(database, "client") as session:
        yield session


def drain(session: Session) -> list[int]:
    """Claim and complete until the queue is empty; returns the order. Nobody else is there: contended is a failure."""
    order: list[int] = []
    held: list[Held] = []
    while True:
        held = session.turn(*map(done, held))
        order += [each.id for each in held]
        if not held:
            assert session.answer == "empty"
            return order


def unhalt(session: Session, item: str) -> None:
    """What an unhalt verb does: item lock, the item's row, and in a new statement the unpark."""
    with session.transaction():
        session.sql("SELECT {schema}.lock_items(ARRAY[%s])", item)
        session.sql("UPDATE {schema}.items SET halted_at = NULL, halt_reason = NULL WHERE item_key = %s", item)
        session.sql("SELECT {schema}.unpark({schema}.parked_heads(ARRAY[%s]))", item)


def test_revision_that_commits_while_its_predecessor_settles(one: Session, two: Session, client: Session) -> None:
    """R2, first hole: it commits after the settlement's last snapshot; a claim sees it before the settlement commits.

    The claim must leave it alone: parked, nobody would ever unpark it.
    """
    client.insert("a")
    (held,) = one.turn()
    one.begin()
    one.settle(done(held))
    (second,) = client.insert("a")
    assert two.turn() == []
    assert two.answer == "contended"
    assert two.rows()[second] == ("pending", None)
    one.commit()
    assert [each.id for each in two.turn()] == [second]


@pytest.mark.parametrize("ends_with_a_claim", [True, False])
def test_insert_between_the_locks_of_a_settlement(
    one: Session, two: Session, client: Session, connection: psycopg.Connection, ends_with_a_claim: bool
) -> None:
    """R2: a settlement holds its item's lock and waits for a row; an insert commits; the settlement sees it."""
    client.insert("a")
    (held,) = one.turn()
    client.begin()
    client.sql("SELECT 1 FROM {schema}.revisions WHERE id = 1 FOR UPDATE")
    settlement = Waiting(lambda: one.turn(done(held)) if ends_with_a_claim else one.settle(done(held)))
    assert blocked(connection, one) == "transactionid"
    (second,) = two.insert("a")
    assert two.turn() == []
    assert two.answer == "contended"
    client.commit()
    result = settlement.result()
    if ends_with_a_claim:
        assert [each.id for each in result] == [second]
    else:
        assert result == {1}
        assert [each.id for each in two.turn()] == [second]


def test_claim_that_saw_the_item_halted(
    one: Session, two: Session, client: Session, connection: psycopg.Connection
) -> None:
    """R2, second hole: a claim saw the item halted and parks its head; the unhalt waits for it and lifts that head."""
    client.insert("a", "a")
    client.sql("INSERT INTO {schema}.items (item_key, halted_at, halt_reason) VALUES ('a', now(), 'look')")
    one.begin()
    assert one.turn(how_many=2) == []
    lifting = Waiting(lambda: unhalt(client, "a"))
    assert blocked(connection, client) == "advisory"
    one.commit()
    lifting.result()
    assert [each.id for each in two.turn()] == [1]


def test_claim_during_an_unhalt(one: Session, two: Session, client: Session) -> None:
    """R2, the other order: the unhalt has not committed; a claim, which cannot know that, parks nothing of the item."""
    client.insert("a")
    client.sql("INSERT INTO {schema}.items (item_key, halted_at, halt_reason) VALUES ('a', now(), 'look')")
    client.begin()
    unhalt(client, "a")
    assert two.turn() == []
    assert two.answer == "contended"
    client.commit()
    assert [each.id for each in two.turn()] == [1]


def test_settle_then_claim_of_the_successor(one: Session, two: Session, client: Session) -> None:
    """R2: while a settlement is under way the successor, parked before, is nobody's; after its commit it is free."""
    client.insert("a", "a")
    (held,) = one.turn(how_many=2)
    two.turn()
    assert two.rows()[2] == ("pending", "behind")
    one.begin()
    one.settle(done(held))
    assert two.turn() == []
    one.commit()
    assert [each.id for each in two.turn()] == [2]


def test_claim_of_the_successor_then_settle(
    one: Session, two: Session, client: Session, connection: psycopg.Connection
) -> None:
    """R2, R3: a claim has parked the successor and not committed; the settlement waits for it, then unparks."""
    client.insert("a", "a")
    (held,) = one.turn()
    two.begin()
    assert two.turn() == []
    settlement = Waiting(lambda: one.settle(done(held)))
    assert blocked(connection, one) == "advisory"
    two.commit()
    assert settlement.result() == {1}
    assert [each.id for each in two.turn()] == [2]


def test_two_claimers_at_one_item(one: Session, two: Session, client: Session) -> None:
    """P2: while one claim of an item is under way another finds it contended; afterwards it parks what is behind."""
    client.insert("a", "a", "a")
    one.begin()
    assert [each.id for each in one.turn()] == [1]
    assert two.turn() == []
    assert two.answer == "contended"
    assert {parked for _, parked in two.rows().values()} == {None}
    one.commit()
    assert two.turn() == []
    assert two.answer == "empty"
    assert two.rows() == {1: ("processing", None), 2: ("pending", "behind"), 3: ("pending", "behind")}


def test_two_claimers_at_the_same_moment(one: Session, two: Session, client: Session) -> None:
    """P2: of two claims that start together on one item, exactly one gets its head; fifty times."""
    for _ in range(50):
        (revision, behind) = client.insert("a", "a")
        gate = threading.Barrier(2)

        def claim(session: Session, gate: threading.Barrier = gate) -> list[Held]:
            gate.wait()
            held = session.turn()
            while not held and session.answer == "contended":
                held = session.turn()
            return held

        other = Waiting(lambda: claim(two))
        got = claim(one) + other.result()
        assert [each.id for each in got] == [revision]
        one.settle(done(got[0]))
        assert drain(one) == [behind]


@pytest.mark.parametrize("later_has_ended", [True, False])
def test_late_commit_with_a_lower_id(one: Session, two: Session, client: Session, later_has_ended: bool) -> None:
    """P3: a lower id commits while a higher one runs, or after it: it runs next, and nothing is stranded."""
    client.begin()
    (low,) = client.insert("a")
    (high, behind) = two.insert("a", "a")
    assert low < high
    (held,) = one.turn()
    assert held.id == high
    if later_has_ended:
        one.settle(done(held))
    client.commit()
    if later_has_ended:
        assert drain(one) == [low, behind]
        return
    assert two.turn(how_many=5) == []
    assert two.rows()[low] == ("pending", "behind")
    assert two.heal() == [], "behind a running revision with a higher id it is not stranded"
    assert [each.id for each in one.turn(done(held))] == [low]


def test_late_commit_while_the_higher_one_settles(one: Session, two: Session, client: Session) -> None:
    """P3, R2: the lower id commits after the settlement's last snapshot, whose successor is already unparked."""
    client.begin()
    (low,) = client.insert("a")
    (_high, behind) = two.insert("a", "a")
    (held,) = one.turn()
    two.turn()
    one.begin()
    one.settle(done(held))
    client.commit()
    assert two.turn(how_many=5) == []
    one.commit()
    assert drain(two) == [low, behind]
    assert two.heal() == []


def test_settle_meets_a_locked_row(one: Session, two: Session, client: Session, connection: psycopg.Connection) -> None:
    """R9: a foreign lock on its row bounds a settlement by lock_timeout; the outcome is not lost, other items go on."""
    client.insert("a", "a", "b")
    (held,) = one.turn()
    client.begin()
    client.sql("SELECT 1 FROM {schema}.revisions WHERE id = 1 FOR UPDATE")
    one.sql("SET lock_timeout = '10s'")
    settlement = Waiting(lambda: one.settle(done(held)))
    blocked(connection, one)
    assert [each.id for each in two.turn(how_many=3)] == [3]
    client.commit()
    assert settlement.result() == {1}

    (held,) = one.turn()
    assert held.id == 2
    client.begin()
    client.sql("SELECT 1 FROM {schema}.revisions WHERE id = 2 FOR UPDATE")
    one.sql("SET lock_timeout = '50ms'")
    with pytest.raises(errors.LockNotAvailable):
        one.settle(done(held))
    client.commit()
    assert one.settle(done(held)) == {2}


def test_successor_that_is_taken_away_while_the_turn_waits(
    one: Session, client: Session, connection: psycopg.Connection
) -> None:
    """R3: a successor that foreign SQL cancels or postpones while the turn waits for its row is not claimed."""
    client.insert("a", "a", "b", "b")
    held = one.turn(how_many=2)
    one.turn()
    client.begin()
    client.sql("UPDATE {schema}.revisions SET status = 'cancelled', parked = NULL, completed_at = now() WHERE id = 2")
    client.sql("UPDATE {schema}.revisions SET run_at = now() + interval '1 hour' WHERE id = 4")
    settlement = Waiting(lambda: one.turn(*map(done, held), how_many=2))
    assert blocked(connection, one) == "transactionid"
    client.commit()
    assert settlement.result() == []
    assert one.settled == {1, 3}
    assert one.rows() == {
        1: ("completed", None),
        2: ("cancelled", None),
        3: ("completed", None),
        4: ("pending", "due"),
    }


def rescued(held: Held) -> Outcome:
    """What a keeper writes for a lease that ran out."""
    return Outcome(
        held.id, held.token, "retried", message="its lease ran out", kind="crash", delay=timedelta(0), crashed=True
    )


def test_rescue_then_late_settle(one: Session, two: Session, client: Session, connection: psycopg.Connection) -> None:
    """R16: the ghost's settlement waits behind the rescue and then writes nothing; the new attempt is not disturbed."""
    client.insert("a")
    (ghost,) = one.turn(lease=-1)
    two.begin()
    assert two.settle(rescued(ghost), only_expired=True) == {1}
    late = Waiting(lambda: one.settle(done(ghost)))
    assert blocked(connection, one) == "advisory"
    two.commit()
    assert late.result() == set()
    (again,) = two.turn()
    assert (again.attempt, again.crash_count) == (2, 1)
    assert one.settle(done(ghost, '{"ghost": true}')) == set()
    assert two.settle(done(again)) == {1}
    assert two.sql("SELECT result, crash_count FROM {schema}.revisions") == [({}, 1)]


def test_late_settle_then_rescue(one: Session, two: Session, client: Session, connection: psycopg.Connection) -> None:
    """R16: an attempt that nobody took over may settle after its lease; the rescue that waited finds nothing to do."""
    client.insert("a", "a")
    (held,) = one.turn(lease=-1)
    one.begin()
    assert one.settle(done(held)) == {1}
    rescue = Waiting(lambda: two.settle(rescued(held), only_expired=True))
    assert blocked(connection, two) == "advisory"
    one.commit()
    assert rescue.result() == set()
    assert drain(two) == [2]
    assert two.sql("SELECT crash_count FROM {schema}.revisions WHERE id = 1") == [(0,)]


def test_rescue_looks_at_the_lease_again(one: Session, two: Session, client: Session) -> None:
    """R9, R16: a lease that was renewed between the keeper's look and its rescue is left alone."""
    client.insert("a")
    (held,) = one.turn(lease=-1)
    assert [row[0] for row in two.call("renew", workers=["w1"], lease="60 seconds")] == [1]
    assert two.settle(rescued(held), only_expired=True) == set()
    assert one.settle(done(held)) == {1}


def test_renewal_does_not_wait_for_a_settlement(one: Session, two: Session, client: Session) -> None:
    """R9: renewing skips the row whose outcome is being written, and renews the others."""
    client.insert("a", "b")
    held = one.turn(how_many=2)
    one.begin()
    one.settle(done(held[0]))
    assert [row[0] for row in two.call("renew", workers=["w1"], lease="60 seconds")] == [2]
    one.commit()


def test_claim_then_dismiss(one: Session, two: Session, client: Session, connection: psycopg.Connection) -> None:
    """R2: a dismissal that meets a claim under way waits for it, and leaves alone what has started."""
    client.insert("a", "a")
    one.begin()
    (held,) = one.turn()
    dismissal = Waiting(lambda: two.dismiss(1, 2))
    assert blocked(connection, two) == "advisory"
    one.commit()
    assert dismissal.result() == {2}
    assert one.rows() == {1: ("processing", None), 2: ("cancelled", None)}
    assert one.settle(done(held)) == {1}


def test_dismiss_then_claim(one: Session, two: Session, client: Session) -> None:
    """R2: while a dismissal is under way its item is contended; afterwards the next one is the head."""
    client.insert("a", "a")
    one.begin()
    assert one.dismiss(1) == {1}
    assert two.turn() == []
    assert two.answer == "contended"
    one.commit()
    assert [each.id for each in two.turn()] == [2]


def test_dismiss_of_a_head_whose_row_a_claim_holds(
    one: Session, two: Session, client: Session, connection: psycopg.Connection
) -> None:
    """R8, R9: a claim that holds rows never waits for item locks, so it cannot deadlock with a dismissal."""
    client.insert("a", "b")
    two.begin()
    two.sql("SELECT {schema}.lock_items('{a}')")
    one.begin()
    assert [each.id for each in one.turn(how_many=2)] == [2]
    dismissal = Waiting(lambda: two.dismiss(1))
    assert blocked(connection, two) == "transactionid"
    one.commit()
    assert dismissal.result() == {1}
    two.commit()
    assert one.rows()[1] == ("cancelled", None)


def test_settlements_of_the_same_items_do_not_deadlock(database: str, client: Session) -> None:
    """R2: item locks are taken in one order: batches of settlements and dismissals of the same items never deadlock."""
    items = [f"i{n}" for n in range(40)]
    for _ in range(8):
        client.insert(*items, *items)
    errors_seen: list[BaseException] = []

    def settle_rounds(name: str, backwards: bool) -> None:
        with Session(database, name) as session:
            held: list[Held] = []
            for _ in range(40):
                held = session.turn(*map(done, reversed(held) if backwards else held), how_many=20)
            session.settle(*map(done, held))

    def dismiss_rounds() -> None:
        with Session(database, "operator") as session:
            for start in range(601, 0, -40):  # the last ones first: these are there still
                session.dismiss(*range(start + 39, start, -1))

    def guarded(call: object, *arguments: object) -> None:
        try:
            call(*arguments)  # type: ignore[operator]
        except BaseException as error:
            errors_seen.append(error)

    threads = [
        threading.Thread(target=guarded, args=(settle_rounds, "w1", False)),
        threading.Thread(target=guarded, args=(settle_rounds, "w2", True)),
        threading.Thread(target=guarded, args=(dismiss_rounds,)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors_seen == []
    drain(client)
    assert client.heal() == []
    assert client.sql("SELECT DISTINCT status::text FROM {schema}.revisions ORDER BY 1") == [
        ("cancelled",),
        ("completed",),
    ]


def test_due_row_meets_a_settlement(one: Session, two: Session, client: Session) -> None:
    """R2, R6: a schedule comes due below a running revision while that one settles: nothing is stranded."""
    (scheduled,) = client.insert("a", status="scheduled")
    (running, behind) = client.insert("a", "a")
    client.sql("UPDATE {schema}.revisions SET run_at = now() + interval '1 hour' WHERE id = %s", scheduled)
    (held,) = one.turn()
    assert held.id == running
    assert two.turn() == []
    client.sql("UPDATE {schema}.revisions SET run_at = now() WHERE id = %s", scheduled)
    one.begin()
    one.settle(done(held))
    assert two.turn() == []
    one.commit()
    assert drain(two) == [scheduled, behind]


def test_due_row_overtakes_the_successor_in_one_turn(one: Session, client: Session) -> None:
    """I2, R6: a schedule comes due below the successor that the same turn chose: the lower one alone is claimed."""
    (scheduled,) = client.insert("a", status="scheduled")
    (running, behind) = client.insert("a", "a")
    client.sql("UPDATE {schema}.revisions SET run_at = now() + interval '1 hour' WHERE id = %s", scheduled)
    (held,) = one.turn()
    assert held.id == running
    assert one.turn() == []
    assert client.rows()[behind] == ("pending", "behind")
    client.sql("UPDATE {schema}.revisions SET run_at = now() WHERE id = %s", scheduled)
    claimed = one.turn(done(held), how_many=5)
    assert (one.settled, [each.id for each in claimed]) == ({running}, [scheduled])
    assert [each.id for each in one.turn(*map(done, claimed), how_many=5)] == [behind]


def test_claim_while_a_settlement_waits_to_commit_takes_other_items(
    one: Session, two: Session, client: Session
) -> None:
    """P4: items do not wait for each other: with one item's settlement under way the rest is claimed."""
    client.insert("a", "a", "b", "c")
    (held,) = one.turn()
    one.begin()
    one.settle(done(held))
    assert [each.item for each in two.turn(how_many=5)] == ["b", "c"]
    one.commit()
    assert [each.id for each in two.turn()] == [2]


def test_rolled_back_claim_leaves_no_trace(one: Session, two: Session, client: Session) -> None:
    """P1: a claim whose transaction is rolled back (its process died) has claimed and parked nothing."""
    client.insert("a", "a")
    one.begin()
    assert len(one.turn(how_many=2)) == 1
    one.sql("ROLLBACK")
    assert two.rows() == {1: ("pending", None), 2: ("pending", None)}
    assert drain(two) == [1, 2]


def test_rolled_back_insert_leaves_a_gap(one: Session, client: Session) -> None:
    """P1, P3: ids of a rolled back insert are missing; nobody waits for them."""
    client.begin()
    client.insert("a")
    (kept,) = one.insert("a")
    assert [each.id for each in one.turn()] == [kept]
    client.sql("ROLLBACK")
    assert one.turn() == []
    assert one.answer == "empty"


def test_due_row_that_somebody_holds(one: Session, client: Session) -> None:
    """R6, R8.

    A claim skips a due row that a foreign transaction holds, instead of waiting or looking again and again.
    """
    client.insert("a", "b")
    (held,) = one.turn()
    one.settle(Outcome(held.id, held.token, "retried", message="no", kind="error", delay=timedelta(milliseconds=20)))
    assert one.rows()[1] == ("pending", "due")
    until(lambda: client.sql("SELECT 1 FROM {schema}.revisions WHERE run_at < clock_timestamp() AND id = 1"), "due")
    client.begin()
    client.sql("SELECT 1 FROM {schema}.revisions WHERE id = 1 FOR UPDATE")
    one.sql("SET statement_timeout = '2s'")
    assert [each.id for each in one.turn(how_many=5)] == [2]
    client.commit()
    assert [each.id for each in one.turn(how_many=5)] == [1]
