"""What one claim, one settlement and one turn promise when nobody else is there."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from tests.store.driving import Held, Session, done, until
from workerpool.core.outcome import Outcome
from workerpool.store.line import FIRST


@pytest.fixture
def worker(database: str) -> Iterator[Session]:
    """A worker."""
    with Session(database) as session:
        yield session


def retried(held: Held, seconds: float, *, crashed: bool = False) -> Outcome:
    """A failure that is tried again."""
    kind = "crash" if crashed else "error"
    return Outcome(
        held.id, held.token, "retried", message="no", kind=kind, delay=timedelta(seconds=seconds), crashed=crashed
    )


def test_settle_and_claim_in_one_turn(worker: Session) -> None:
    """R3: a turn takes the successor of what it settles, without that one's having been unparked."""
    first, second = worker.insert("a", "a")
    (held,) = worker.turn(how_many=5)
    assert held.id == first
    (next_one,) = worker.turn(done(held), how_many=5)
    assert (worker.settled, next_one.id) == ({first}, second)
    assert worker.turn(done(next_one)) == []
    assert worker.answer == "empty"


def test_started_after_the_predecessor_ended(worker: Session) -> None:
    """R7: in one transaction too, a revision starts after its predecessor completed, by the stored instants."""
    worker.insert("a", "a", "a")
    with worker.transaction():
        held = worker.turn()
        for _ in range(3):
            held = worker.turn(*map(done, held))
    rows = worker.sql(
        "SELECT started_at, completed_at, updated_at, lease_expires_at FROM {schema}.revisions ORDER BY id"
    )
    assert all(started <= ended == updated for started, ended, updated, _ in rows)
    assert all(before[1] <= after[0] for before, after in pairwise(rows))


def test_empty_and_contended_are_told_apart(worker: Session) -> None:
    """R4: without candidates the answer is empty; rows that were parked are no candidates any more."""
    assert worker.turn() == []
    assert worker.answer == "empty"
    worker.insert("a", "a", "a")
    worker.turn(how_many=3)
    assert worker.answer == "claimed"
    assert worker.turn(how_many=3) == []
    assert worker.answer == "empty"
    worker.insert("b", handler="other")
    assert worker.turn() == []
    assert worker.answer == "empty"


def test_blocked_rows_are_written_once(worker: Session) -> None:
    """P4, R4: behind 3,000 rows of a hot item the others are found, and each blocked row is written exactly once."""
    worker.sql(
        "CREATE TABLE parkings (id bigint); "
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO parkings VALUES (NEW.id); RETURN NULL; END'; "
        "CREATE TRIGGER note AFTER UPDATE ON {schema}.revisions FOR EACH ROW WHEN (NEW.parked = 'behind') "
        "EXECUTE FUNCTION note()"
    )
    worker.sql("INSERT INTO {schema}.revisions (item_key) SELECT 'hot' FROM generate_series(1, 3000)")
    others = worker.insert("x", "y", "z")
    seen: list[Held] = []
    turns = 0
    while worker.answer != "empty":
        seen += worker.turn(how_many=2)
        turns += 1
        assert turns < 40
    assert {held.id for held in seen} == {1, *others}
    parkings = worker.sql("SELECT count(*), count(DISTINCT id) FROM parkings")
    worker.sql("DROP TRIGGER note ON {schema}.revisions; DROP FUNCTION note; DROP TABLE parkings")
    assert parkings == [(2999, 2999)]
    assert turns < 20, "a page grows while nothing is found"


def test_hot_item_held_by_another_hides_nobody(database: str, worker: Session) -> None:
    """R4: also while another transaction holds the hot item, so that its rows cannot be parked."""
    worker.sql("INSERT INTO {schema}.revisions (item_key) SELECT 'hot' FROM generate_series(1, 1500)")
    (other,) = worker.insert("x")
    with Session(database, "w2") as rival, rival.transaction():
        rival.sql("SELECT {schema}.lock_items('{hot}')")
        assert [held.id for held in worker.turn(how_many=4)] == [other]
        assert worker.sql("SELECT count(*) FROM {schema}.revisions WHERE parked IS NOT NULL") == [(0,)]


def test_priority_between_items_never_inside(worker: Session) -> None:
    """P3: a higher priority goes first among items, and waits its turn inside its own."""
    worker.insert("a", priority=0)
    worker.insert("a", priority=9)
    worker.insert("b", priority=5)
    worker.insert("c", priority=-7)
    order = []
    for _ in range(4):
        (held,) = worker.turn()
        order.append(held.id)
        worker.settle(done(held))
    assert order == [3, 1, 2, 4]


@pytest.mark.parametrize("how_many", [1, 2, 3, 7])
def test_two_handlers_keep_one_order(worker: Session, how_many: int) -> None:
    """R1: candidates of several handlers are one sequence, by priority and id, whatever the page."""
    for n in range(12):
        worker.insert(f"i{n}", handler="ab"[n % 2], priority=n % 3)
    order: list[int] = []
    while held := worker.turn(how_many=how_many, handlers=("a", "b")):
        order += sorted((each.id for each in held), key=lambda n: (-((n - 1) % 3), n))
    assert order == sorted(range(1, 13), key=lambda n: (-((n - 1) % 3), n))


def test_item_with_two_handlers(worker: Session) -> None:
    """R25: a worker passes an item whose head is another handler's; once that is done the item's rest is its own."""
    worker.insert("a", handler="x")
    worker.insert("a", handler="y")
    assert worker.turn(handlers=("y",)) == []
    assert worker.rows()[2] == ("pending", "behind")
    (held,) = worker.turn(handlers=("x",))
    assert worker.turn(done(held), handlers=("x",)) == []
    assert worker.rows()[2] == ("pending", None), "a successor that the settler has no handler for is for others"
    assert [each.id for each in worker.turn(handlers=("y",))] == [2]


def test_retry_keeps_its_place(worker: Session) -> None:
    """P3, R3: a back-off makes the item wait; its successors stay parked until the retry is over."""
    worker.insert("a", "a")
    (held,) = worker.turn(how_many=2)
    assert worker.turn(retried(held, 3600)) == []
    assert worker.answer == "empty"
    assert worker.rows() == {1: ("pending", "due"), 2: ("pending", "behind")}
    assert worker.turn() == []
    worker.sql("UPDATE {schema}.revisions SET run_at = now() WHERE id = 1")
    (again,) = worker.turn(how_many=2)
    assert (again.id, again.attempt) == (1, 2)
    assert [each.id for each in worker.turn(done(again))] == [2]


def test_unpark_lifts_only_what_is_behind(worker: Session) -> None:
    """R3: a back-off is no head to be lifted, and whoever asks for it to be lifted lifts nothing."""
    worker.insert("a", "a")
    (held,) = worker.turn()
    worker.turn(retried(held, 3600), how_many=2)
    assert worker.sql("SELECT {schema}.parked_heads('{a}'), {schema}.unpark('{1}')") == [([], 0)]
    assert worker.rows() == {1: ("pending", "due"), 2: ("pending", "behind")}


def test_due_rows_are_cleared_by_the_claim(worker: Session) -> None:
    """R6: a back-off that ended and a schedule that came need nobody but the next claim."""
    worker.insert("a", "b")
    worker.settle(*(retried(each, 0.02) for each in worker.turn(how_many=2)))
    worker.sql("INSERT INTO {schema}.revisions (item_key, run_at) VALUES ('c', now() + interval '20 ms')")
    assert worker.rows() == {1: ("pending", "due"), 2: ("pending", "due"), 3: ("scheduled", None)}
    until(
        lambda: worker.sql("SELECT 1 FROM {schema}.revisions HAVING max(run_at) < clock_timestamp()"),
        "all of them are due",
    )
    assert sorted(each.id for each in worker.turn(how_many=5)) == [1, 2, 3]


def test_released_attempt_is_not_counted(worker: Session) -> None:
    """P6, I8: what is given back unharmed has its attempt back, and is there for the next claim at once."""
    worker.insert("a")
    (held,) = worker.turn()
    assert worker.settle(Outcome(held.id, held.token, "released")) == {1}
    assert worker.sql("SELECT attempt, claim_token, crash_count, parked FROM {schema}.revisions") == [
        (0, None, 0, None)
    ]
    (again,) = worker.turn()
    assert again.attempt == 1
    assert again.fence > held.fence


def test_given_back_wakes_the_idle(database: str, worker: Session) -> None:
    """R11: what goes back to pending without a claim after it is announced to hungry workers."""
    worker.insert("a", "b")
    worker.sql(
        "INSERT INTO {schema}.workers (id, manager_id, host, slot, generation, worker_pid, state) "
        "VALUES ('w9', 'm', 'h', 'W9', 1, 1, 'idle')"
    )
    held = worker.turn(how_many=2)
    with psycopg.connect(database, autocommit=True) as ear:
        ear.execute('LISTEN "workerpool"')
        worker.settle(done(held[0]))
        assert list(ear.notifies(timeout=0.05)) == [], "nothing became free"
        worker.settle(Outcome(held[1].id, held[1].token, "released"))
        assert len(list(ear.notifies(timeout=5, stop_after=1))) == 1


def test_unparked_successor_wakes_the_idle(database: str, worker: Session) -> None:
    """R11: a settlement that unparks and will not claim notifies, once."""
    worker.insert("a", "a")
    (held,) = worker.turn(how_many=2)
    worker.sql(
        "INSERT INTO {schema}.workers (id, manager_id, host, slot, generation, worker_pid, state) "
        "VALUES ('w9', 'm', 'h', 'W9', 1, 1, 'idle')"
    )
    worker.turn(how_many=2)
    with psycopg.connect(database, autocommit=True) as ear:
        ear.execute('LISTEN "workerpool"')
        worker.settle(done(held))
        assert len(list(ear.notifies(timeout=5, stop_after=1))) == 1
        assert worker.rows()[2] == ("pending", None)


def test_crashed_revision_is_claimed_alone(worker: Session) -> None:
    """R22: a revision with a crash behind it shares no batch, neither first nor in the middle."""
    worker.insert("a", "b", "c", "d")
    held = worker.turn(how_many=4)
    worker.settle(*(retried(each, 0, crashed=each.id == 2) for each in held))
    assert [each.id for each in worker.turn(how_many=4)] == [1, 3, 4], "in the middle it is left out"
    assert [(each.id, each.crash_count) for each in worker.turn(how_many=4)] == [(2, 1)]
    worker.insert("e", "f")
    worker.sql("UPDATE {schema}.revisions SET crash_count = 1 WHERE item_key = 'e'")
    assert [each.item for each in worker.turn(how_many=4)] == ["e"], "as the first it goes alone"
    assert [each.item for each in worker.turn(how_many=4)] == ["f"]


def test_short_queue_is_shared(worker: Session) -> None:
    """DESIGN 5: a claim never takes more heads than its share of a short queue, and at least one."""
    worker.insert(*(f"i{n}" for n in range(10)))
    assert len(worker.turn(how_many=60, sharers=4)) == 3
    assert len(worker.turn(how_many=60, sharers=4)) == 2
    assert len(worker.turn(how_many=60, sharers=100)) == 1
    assert len(worker.turn(how_many=2, sharers=1)) == 2
    assert len(worker.turn(how_many=60, sharers=1)) == 2
    assert worker.turn(how_many=60, sharers=4) == []


def test_large_payload_is_read_later(worker: Session) -> None:
    """R13: a payload over 64 KB is not part of the claim's answer, however well compressed; it is read by token."""
    small = '{"t": "' + "x" * 60_000 + '"}'
    large = '{"t": "' + "x" * 70_000 + '"}'
    worker.insert("a", payload=small)
    worker.insert("b", payload=large)
    worker.sql(
        "INSERT INTO {schema}.revisions (item_key, payload) "
        "SELECT 'c', jsonb_agg(md5(g::text)) FROM generate_series(1, 3000) g"
    )
    held = worker.turn(how_many=3)
    assert [each.payload for each in held] == [small, None, None]
    assert worker.call("payload", id=held[1].id, token=held[1].token) == [(large,)]
    assert worker.call("payload", id=held[1].id, token=uuid4()) == []


def test_revision_numbers_have_no_gaps(worker: Session) -> None:
    """P3: completed revisions of an item are numbered 1, 2, 3 in order; failed, cancelled and released ones are not."""
    worker.insert(*["a"] * 6, "b")
    endings = iter(["completed", "failed", "completed", "cancelled", "released", "completed", "completed"])
    while held := [each for each in worker.turn() if each]:
        verdict = next(endings) if held[0].item == "a" else "completed"
        worker.settle(
            Outcome(held[0].id, held[0].token, verdict, result='{"n": 1}' if verdict == "completed" else None)
        )
    rows = worker.sql("SELECT status, revision_number FROM {schema}.revisions WHERE item_key = 'a' ORDER BY id")
    assert rows == [
        ("completed", 1),
        ("failed", None),
        ("completed", 2),
        ("cancelled", None),
        ("completed", 3),
        ("completed", 4),
    ]
    assert worker.sql("SELECT revision_number FROM {schema}.revisions WHERE item_key = 'b'") == [(1,)]


def test_mixed_verdicts_in_one_turn(worker: Session) -> None:
    """P2: outcomes of all kinds are written in one call, each on its own row; a wrong token writes nothing."""
    worker.insert("a", "b", "c", "d", "e", "f")
    a, b, c, d, e, f = worker.turn(how_many=6)
    written = worker.settle(
        done(a, '{"x": 1}'),
        Outcome(b.id, b.token, "failed", message="broken", kind="error"),
        Outcome(c.id, c.token, "cancelled", message="stop", kind="cancelled"),
        retried(d, 60, crashed=True),
        Outcome(e.id, e.token, "released"),
        Outcome(f.id, uuid4(), "completed", result="{}"),
    )
    assert written == {1, 2, 3, 4, 5}
    rows = worker.sql(
        "SELECT status, parked, attempt, crash_count, error_kind, revision_number FROM {schema}.revisions ORDER BY id"
    )
    assert rows == [
        ("completed", None, 1, 0, None, 1),
        ("failed", None, 1, 0, "error", None),
        ("cancelled", None, 1, 0, "cancelled", None),
        ("pending", "due", 1, 1, "crash", None),
        ("pending", None, 0, 0, None, None),
        ("processing", None, 1, 0, None, None),
    ]
    logged = worker.sql("SELECT revision_id, level, message FROM {schema}.execution_log ORDER BY revision_id")
    assert logged == [(2, "error", "failed: broken"), (3, "warning", "cancelled: stop"), (4, "warning", "no")]


def test_settling_twice_writes_once(worker: Session) -> None:
    """R16: the second outcome of an attempt finds nothing to write, and says so by leaving its id out."""
    worker.insert("a")
    (held,) = worker.turn()
    assert worker.settle(done(held, '{"n": 1}')) == {1}
    assert worker.settle(done(held, '{"n": 2}')) == set()
    assert worker.sql("SELECT result FROM {schema}.revisions") == [({"n": 1},)]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_claim_needs_read_committed(worker: Session, level: str) -> None:
    """R1: with one snapshot for all its statements a claim would be wrong, so it refuses."""
    worker.insert("a")
    worker.sql(f"BEGIN ISOLATION LEVEL {level}")
    with pytest.raises(errors.InvalidTransactionState, match="read committed"):
        worker.turn()
    worker.sql("ROLLBACK")


@pytest.mark.parametrize(("settled", "how_many"), [(60, 60), (0, 500), (100, 500), (128, 60)])
def test_at_most_128_item_locks(connection: psycopg.Connection, worker: Session, settled: int, how_many: int) -> None:
    """R5: whatever is asked, a turn holds at most 128 item locks."""
    worker.sql("INSERT INTO {schema}.revisions (item_key) SELECT 'i' || g FROM generate_series(1, 700) g")
    held: list[Held] = []
    while len(held) < settled:
        held += worker.turn(how_many=min(60, settled - len(held)))
    with worker.transaction():
        claimed = worker.turn(*map(done, held), how_many=how_many)
        count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
        locks = connection.execute(count, [worker.pid]).fetchone()
    assert worker.settled == {each.id for each in held}
    assert locks is not None
    assert len(claimed) == min(how_many, 128 - settled)
    assert locks[0] <= 128 + 1, "and the pause's"
    assert worker.answer == ("claimed" if claimed else "contended")


def test_more_than_128_items_are_refused(worker: Session) -> None:
    """R5: a settlement of more items says what is allowed, and writes nothing."""
    worker.sql("INSERT INTO {schema}.revisions (item_key) SELECT 'i' || g FROM generate_series(1, 200) g")
    held: list[Held] = []
    while len(held) < 129:
        held += worker.turn(how_many=60)
    with pytest.raises(errors.ProgramLimitExceeded, match="at most 128 items"):
        worker.settle(*map(done, held))
    assert worker.sql("SELECT count(*) FROM {schema}.revisions WHERE status = 'completed'") == [(0,)]


def test_halted_item_is_left_alone(worker: Session) -> None:
    """R2: a halted item starts nothing: not its head, and not the successor of what was running in the same turn."""
    worker.insert("a", "a", "b", "b")
    (a1,) = worker.turn()
    worker.turn(how_many=1, handlers=("nobody",))
    worker.sql(
        "INSERT INTO {schema}.items (item_key, halted_at, halt_reason) "
        "VALUES ('a', now(), 'look'), ('b', now(), 'look')"
    )
    assert worker.turn(done(a1), how_many=9) == []
    assert worker.answer == "empty"
    assert worker.heal() == [], "the heads of halted items are not stranded"
    with worker.transaction():
        worker.sql("SELECT {schema}.lock_items('{a,b}')")
        worker.sql("UPDATE {schema}.items SET halted_at = NULL, halt_reason = NULL")
        worker.sql("SELECT {schema}.unpark({schema}.parked_heads('{a,b}'))")
    assert [each.id for each in worker.turn(how_many=9)] == [2, 3]


def test_dismissed_head_lets_the_item_go_on(worker: Session) -> None:
    """R2: ending a head that has not started unparks the next; what has started is left alone."""
    worker.insert("a", "a", "a")
    (a1,) = worker.turn(how_many=3)
    worker.turn(how_many=3)
    assert worker.dismiss(1, 2) == {2}
    worker.settle(retried(a1, 3600))
    assert worker.rows()[3] == ("pending", "behind")
    assert worker.dismiss(1) == {1}
    assert worker.rows() == {1: ("cancelled", None), 2: ("cancelled", None), 3: ("pending", None)}
    assert [each.id for each in worker.turn()] == [3]


def test_heal_repairs_foreign_sql(worker: Session) -> None:
    """R10: a head that somebody deleted by hand leaves its successor stranded; heal finds it, and nothing else."""
    worker.insert("a", "a", "b", "b", "c")
    worker.turn(how_many=1)
    worker.turn(how_many=3)
    assert worker.heal() == []
    worker.sql("DELETE FROM {schema}.revisions WHERE id = 1")
    assert worker.turn(how_many=5) == []
    assert worker.heal() == [2]
    assert worker.heal() == []
    assert [each.id for each in worker.turn(how_many=5)] == [2]


def test_heal_walks_by_key(worker: Session) -> None:
    """R10: heal looks at a bounded number of items a round and says where it stopped; null is the end."""
    worker.insert(*(f"i{n}" for n in range(5)))
    last, rounds = "", 0
    while last is not None:
        last = worker.call("heal", after=last, how_many=2)[0][0]
        rounds += 1
    assert rounds == 3


def test_a_claim_begins_where_the_last_one_ended_and_misses_nothing(worker: Session) -> None:
    """R4: behind the place that a turn names comes what is next; what appears before that place is found as soon as too
    little is behind it, and is found first by a claim that looks at everything.
    """
    ids = worker.insert("a", "b", "c", "d", "e")
    assert [held.id for held in worker.turn(how_many=2)] == ids[:2]
    place = worker.begin_at
    assert place == (0, ids[1])
    (urgent,) = worker.insert("f", priority=5)
    assert [held.id for held in worker.turn(how_many=1, begin=place)] == [ids[2]]
    assert {held.id for held in worker.turn(how_many=5, begin=worker.begin_at)} == {*ids[3:], urgent}
    assert worker.begin_at == FIRST
    (late,) = worker.insert("g", priority=9)
    assert [held.id for held in worker.turn(how_many=1, begin=place)] == [late]


def test_what_became_due_is_found_wherever_a_claim_begins(worker: Session) -> None:
    """R6: a due revision takes part in the next claim, although its id is before the place where that begins."""
    (scheduled,) = worker.insert("a", run_at=datetime.now(UTC) + timedelta(hours=1))
    ids = worker.insert("b", "c", "d")
    assert [held.id for held in worker.turn(how_many=2)] == ids[:2]
    worker.sql("UPDATE {schema}.revisions SET run_at = clock_timestamp() WHERE id = %s", scheduled)
    assert [held.id for held in worker.turn(how_many=1, begin=worker.begin_at)] == [scheduled]


@pytest.mark.parametrize("how_many", [1, 3])
def test_a_successor_goes_on_only_in_its_turn(worker: Session, how_many: int) -> None:
    """Priority orders items: the successor of what was settled does not pass a candidate that comes before it, nor a
    higher place in line that backs off.
    """
    first, second = worker.insert("a", "a")
    (held,) = worker.turn(how_many=1)
    assert held.id == first
    (urgent,) = worker.insert("b", priority=1)
    taken = {each.id for each in worker.turn(done(held), how_many=how_many)}
    assert taken == ({urgent, second} if how_many > 1 else {urgent})


def test_a_successor_that_a_halt_holds_does_not_go_on(worker: Session) -> None:
    """R2: what was settled last before a halt has no successor until the unhalt."""
    worker.insert("a", "a")
    (held,) = worker.turn()
    worker.sql("SELECT {schema}.halt('a', 'enough', 'test')")
    assert worker.turn(done(held)) == []
    worker.sql("SELECT {schema}.unhalt('a', 'test')")
    assert len(worker.turn()) == 1


def test_the_line_of_a_deep_item_is_parked_behind_its_head(worker: Session) -> None:
    """R1, R3, R10: hundreds of revisions of one item are out of the way after a claim or two, and their head is not:
    also where a part of them has a higher priority than those before it.
    """
    head, *_ = worker.insert(*["deep"] * 10)
    worker.insert(*["deep"] * 300, priority=5)
    others = worker.insert("a", "b", "c", priority=1)
    claimed = worker.turn(how_many=60)
    claimed += worker.turn(how_many=60)
    taken = [held.id for held in claimed]
    assert sorted(taken) == [head, *others]
    assert worker.heal() == []
    assert {parked for id_, (_, parked) in worker.rows().items() if id_ not in taken} == {"behind"}
    (held,) = [each for each in claimed if each.item == "deep"]
    for _ in range(309):
        (held,) = worker.turn(done(held), how_many=1)
        assert held.item == "deep"
    assert worker.heal() == []


def test_a_deep_item_whose_head_is_not_taken_keeps_it_as_a_candidate(worker: Session) -> None:
    """R10, R22: one with a crash behind it is claimed alone; what was parked meanwhile is behind a head."""
    worker.insert("z")
    (head, *_) = worker.insert(*["deep"] * 60, priority=5)
    (fragile,) = worker.insert("fragile", priority=9, crash_count=1)
    assert [held.id for held in worker.turn(how_many=80)] == [fragile]
    assert worker.rows()[head] == ("pending", None)
    assert worker.heal() == []
