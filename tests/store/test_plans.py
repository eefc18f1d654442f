"""What a claim costs does not grow: not with the backlog, not with the depth of a hot item, not with old statistics.

Cost is counted in pages touched, as EXPLAIN counts them for everything that a statement and the functions inside it do:
unlike time it is the same on a busy machine.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.store.driving import Session
from workerpool.core.outcome import Outcome
from workerpool.store.connection import statement
from workerpool.store.line import FIRST, Place, outcome_arrays

FEW, MANY, HOT = 2_000, 200_000, 100_000

EXPLAIN = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF, FORMAT JSON) "


@pytest.fixture(scope="module")
def worker(module_database: str) -> Iterator[Session]:
    """A worker; its backlog is made once for all tests of a shape, each test rolls back what it did."""
    with Session(module_database) as session:
        session.sql("SET statement_timeout = '60s'")
        yield session


def fill(worker: Session, shape: str, statistics: str) -> None:
    """Make a backlog of one *shape*, unless it is there already."""
    if getattr(worker, "filled", None) == (shape, statistics):
        return
    insert = "INSERT INTO {schema}.revisions (item_key, priority) SELECT "
    worker.sql("TRUNCATE {schema}.revisions RESTART IDENTITY CASCADE")
    worker.sql("ALTER TABLE {schema}.revisions SET (autovacuum_enabled = off)")
    if statistics == "stale":  # as of an empty table
        worker.sql("VACUUM ANALYZE {schema}.revisions")
    pour(worker, shape)
    if shape.startswith("hot"):  # the entries of what was parked are gone from the candidates
        worker.sql("VACUUM {schema}.revisions")
    worker.sql(insert + "'other' || g, 0 FROM generate_series(1, 100) g")
    if statistics == "fresh":
        worker.sql("VACUUM ANALYZE {schema}.revisions")
    worker.filled = (shape, statistics)  # type: ignore[attr-defined]


def pour(worker: Session, shape: str) -> None:
    """Insert the rows of a *shape*."""
    kind, _, count = shape.partition(" ")
    rows = f"generate_series(1, {count or 0}) g"
    insert = "INSERT INTO {schema}.revisions (item_key, priority) SELECT "
    match kind:
        case "wide":
            worker.sql(insert + f"'i' || g, 0 FROM {rows}")
        case "hot":  # all in front, and every row of it parked but the first
            worker.sql(insert + f"'hot', 0 FROM {rows}")
            worker.sql("UPDATE {schema}.revisions SET parked = 'behind' WHERE item_key = 'hot' AND id > 1")
        case "raw":  # all in front, and no claim has seen them
            worker.sql(insert + f"'hot', 9 FROM {rows}")
        case "busy":  # others are at work on many items
            worker.sql(
                "INSERT INTO {schema}.revisions (item_key, status, worker_id, claim_token, lease_expires_at) "
                f"SELECT 'busy' || g, 'processing', 'x', gen_random_uuid(), now() + interval '1 hour' FROM {rows}"
            )
        case "later":  # nothing of it is due
            worker.sql(
                "INSERT INTO {schema}.revisions (item_key, run_at) "
                f"SELECT 's' || g, now() + interval '1 day' FROM {rows}"
            )
        case "past":  # an item with a long history
            worker.sql(
                "INSERT INTO {schema}.revisions (item_key, status, completed_at, revision_number) "
                f"SELECT 'hot', 'completed', now(), g FROM {rows}"
            )
            worker.sql(insert + "'hot', 0 FROM generate_series(1, 50) g")


def touched(worker: Session, name: str, /, **parameters: Any) -> int:
    """Run the statement *name* and return how many pages it touched."""
    query = EXPLAIN + statement(name, worker.schema).as_bytes(worker.connection)
    ((plan,),) = worker.connection.execute(query, parameters, prepare=False).fetchall()
    return pages(plan)


def pages(plan: Any) -> int:
    """Return how many pages a plan touched."""
    top = plan[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def turn(
    worker: Session, outcomes: list[Outcome], how_many: int, token: UUID | None = None, begin: Place = FIRST
) -> int:
    """Return how many pages a turn touches."""
    asked = ["w", token or uuid4(), ["default"], [None], how_many, 2, "60 seconds", *begin]
    ((plan,),) = worker.numbered("turn", [*outcome_arrays(outcomes).values(), *asked], EXPLAIN)
    return pages(plan)


@contextmanager
def undone(worker: Session) -> Iterator[None]:
    """Whatever happens inside is rolled back."""
    worker.begin()
    try:
        yield
    finally:
        worker.sql("ROLLBACK")


def held(worker: Session, token: UUID) -> list[Outcome]:
    """Return good outcomes of what was claimed with *token*."""
    rows = worker.sql("SELECT id FROM {schema}.revisions WHERE claim_token = %s AND status = 'processing'", token)
    assert rows, "the turn before claimed something"
    return [Outcome(row[0], token, "completed", result="{}") for row in rows]


def three_turns(worker: Session, how_many: int) -> tuple[int, int, int]:
    """Claim, settle and claim, settle, all rolled back; returns the pages of each."""
    first, second = uuid4(), uuid4()
    with undone(worker):
        one = turn(worker, [], how_many, first)
        two = turn(worker, held(worker, first), how_many, second)
        three = touched(worker, "settle", **outcome_arrays(held(worker, second)), only_expired=False)
    return one, two, three


def compare(worker: Session, small: str, large: str, statistics: str, measure: Callable[[], tuple[int, ...]]) -> None:
    """Check that *measure* touches about as many pages at the *large* backlog as at the *small* one."""
    fill(worker, small, statistics)
    measure()  # the session's plans and catalogue caches are made
    few = measure()
    fill(worker, large, statistics)
    measure()
    many = measure()
    print(f"{small}: {few}, {large}: {many}")
    for before, after in zip(few, many, strict=True):
        assert after <= before * 1.5 + 60


@pytest.mark.parametrize("statistics", ["none", "stale", "fresh"])
def test_backlog(worker: Session, statistics: str) -> None:
    """P4: with 200,000 pending revisions a claim and a settlement touch as many pages as with 2,000."""

    def both_sizes() -> tuple[int, ...]:
        return (*three_turns(worker, 1), *three_turns(worker, 60))

    compare(worker, f"wide {FEW}", f"wide {MANY}", statistics, both_sizes)


@pytest.mark.parametrize("statistics", ["stale", "fresh"])
def test_hot_item(worker: Session, statistics: str) -> None:
    """P4, R10: 100,000 pending revisions of one item: head check, settlement, heal and look cost as with 2,000."""

    def turns_and_sweeps() -> tuple[int, ...]:
        heal = touched(worker, "heal", after="", how_many=100)
        look = touched(worker, "tick", handlers=["default"], how_many=2, manager="a/1-0")
        return (*three_turns(worker, 10), heal, look)

    compare(worker, f"hot {FEW}", f"hot {HOT}", statistics, turns_and_sweeps)


@pytest.mark.parametrize("statistics", ["stale", "fresh"])
def test_long_history(worker: Session, statistics: str) -> None:
    """P4: an item with 100,000 finished revisions costs as one with 2,000, its next revision_number too."""
    compare(worker, f"past {FEW}", f"past {HOT}", statistics, lambda: three_turns(worker, 10))


@pytest.mark.parametrize("statistics", ["stale", "fresh"])
def test_scheduled_rows_in_the_way(worker: Session, statistics: str) -> None:
    """P4, R6: with 100,000 revisions scheduled for tomorrow a turn touches as many pages as with 2,000."""

    def turns() -> tuple[int, ...]:
        return (*three_turns(worker, 1), *three_turns(worker, 20))

    compare(worker, f"later {FEW}", f"later {HOT}", statistics, turns)


def test_a_claim_steps_over_what_was_claimed_before_it(worker: Session) -> None:
    """P4: what was claimed leaves entries in the index until a vacuum; a turn that begins behind them does not walk
    them, while one that looks at everything does.
    """
    fill(worker, "wide 30000", "stale")
    worker.sql("DELETE FROM {schema}.revisions WHERE item_key LIKE 'i%%' AND id < 29000")
    worker.filled = None  # type: ignore[attr-defined]
    with undone(worker):
        everything = turn(worker, [], 20)
    with undone(worker):
        behind = turn(worker, [], 20, begin=(0, 28_999))
    print(everything, behind)
    assert behind < everything - 100


@pytest.mark.parametrize("statistics", ["none", "stale", "fresh"])
def test_many_at_work(worker: Session, statistics: str) -> None:
    """P4: with 20,000 revisions processing a settlement touches as many pages as with 1,000: it goes by id."""
    compare(worker, "busy 1000", "busy 20000", statistics, lambda: (*three_turns(worker, 1), *three_turns(worker, 20)))


@pytest.mark.parametrize("grown", ["wide", "hot", "busy", "past"])
def test_plans_that_were_made_for_an_empty_table(worker: Session, grown: str) -> None:
    """P4: a worker that made its plans when there was nothing keeps them when there is much, and they still fit."""
    fill(worker, "empty", "stale")
    few = three_turns(worker, 10)
    few = three_turns(worker, 10)
    pour(worker, f"{grown} 50000")
    worker.filled = None  # type: ignore[attr-defined]
    many = three_turns(worker, 10)
    print(f"{grown}: {few} {many}")
    for before, after in zip(few, many, strict=True):
        assert after <= before * 2 + 100


@pytest.mark.parametrize("statistics", ["stale", "fresh"])
def test_unseen_hot_rows_cost_a_bounded_claim(worker: Session, statistics: str) -> None:
    """R4: a claim that meets 100,000 rows of a hot item for the first time stops at its budget, as with 3,000."""

    def first_claim() -> tuple[int]:
        with undone(worker):
            return (turn(worker, [], 60),)

    compare(worker, "raw 3000", f"raw {HOT}", statistics, first_claim)
