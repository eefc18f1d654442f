"""What the keeper asks again and again: the facts of a tick, at the same cost whatever is queued, and its heartbeat."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.store.driving import Session, done
from workerpool.keeper.facts import Facts, look
from workerpool.keeper.flock import Sheep
from workerpool.store.connection import statement
from workerpool.store.line import Line

MANY = 50_000


@pytest.fixture
def keeper(database: str) -> Iterator[Session]:
    """The keeper's connection."""
    with Session(database, "k") as session:
        session.sql("DELETE FROM {schema}.schedules; DELETE FROM {schema}.work_tokens")
        yield session


@pytest.fixture
def worker(database: str) -> Iterator[Session]:
    """A worker."""
    with Session(database, "w1") as session:
        yield session


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """The keeper's connection, as the keeper has it."""
    line = Line(database, "workerpool", "keeper")
    line.open()
    yield line
    line.close()


def seen(line: Line, *handlers: str, workers: int = 2) -> Facts:
    """Tick for idle workers with these handlers."""
    return look(line, "a/1-0", [Sheep(f"w{n}", n, 0, 0, handlers or ("default",)) for n in range(workers)])


def test_at_rest_nothing_is_worth_a_statement(line: Line, keeper: Session) -> None:
    """An empty queue: every fact says so, and a look for nobody is as good."""
    version = keeper.sql("SELECT version FROM {schema}.pause_state")[0][0]
    nothing = Facts(0, None, version, False, False, False, False, False, False, False, None)
    assert seen(line) == nothing
    assert seen(line, workers=0) == nothing


def test_each_fact_is_told(line: Line, keeper: Session, worker: Session) -> None:
    """What happens in the queue is a fact of the next tick, and no longer when it is over."""
    first, second, _ = worker.insert("page", "page", "other")
    facts = seen(line)
    assert (facts.found, facts.waiting, facts.pending, facts.processing) == (2, True, True, False)
    assert seen(line, workers=5).found == 3
    assert seen(line, "another").found == 0
    held = worker.turn(how_many=10)
    facts = seen(line)
    assert [each.id for each in held] == [first, first + 2]
    assert (facts.found, facts.waiting, facts.pending, facts.processing) == (0, False, True, True)
    assert not facts.cancels
    keeper.sql("UPDATE {schema}.revisions SET cancel_requested_at = now() WHERE id = %s", second)
    assert seen(line).cancels
    assert keeper.call("carry_out_cancels", how_many=10) == []
    worker.settle(*map(done, held))
    facts = seen(line)
    assert (facts.cancels, facts.pending, facts.processing) == (False, False, False)
    worker.insert("page", run_at=keeper.sql("SELECT clock_timestamp() + interval '1 hour'")[0][0])
    facts = seen(line)
    assert facts.due_in is not None
    assert 3590 < facts.due_in <= 3600
    assert not facts.pending, "what is scheduled does not take part yet"


def test_pauses_tokens_and_schedules_are_told(line: Line, keeper: Session) -> None:
    """The pause in force, what of it is over, and when the next schedule is due; a new one at once."""
    keeper.insert("page")
    before = seen(line)
    keeper.sql("SELECT {schema}.pause('handler:default', 'drain', 'x', 'eve', 'eve', now() + interval '1 h')")
    facts = seen(line)
    assert (facts.version, facts.paused, facts.pause_over) == (before.version + 1, False, False)
    assert (before.found, facts.found) == (1, 0), "nobody is woken for what is paused"
    keeper.sql("SELECT {schema}.pause('all', 'drain', 'x', 'eve', 'mine', now() - interval '1 s')")
    facts = seen(line)
    assert (facts.paused, facts.pause_over) == (True, True)
    assert keeper.call("lift_pauses") == [(1,)]
    facts = seen(line)
    assert (facts.version, facts.paused, facts.pause_over) == (before.version + 3, False, False)
    token = (
        "INSERT INTO {schema}.work_tokens (kind, holder, host, pid, expires_at) VALUES ('orchestrator', 'x', 'h', 1, "
    )
    keeper.sql(token + "clock_timestamp() + interval '1 h')")
    assert not seen(line).token_over
    keeper.sql(token + "clock_timestamp())")
    assert seen(line).token_over
    schedule = "INSERT INTO {schema}.schedules (name, cron, item_key, next_run) VALUES (%s, '@daily', 'page', "
    keeper.sql(schedule + "clock_timestamp() + interval '1 h')", "later")
    fires_in = seen(line).fires_in
    assert fires_in is not None
    assert 3590 < fires_in <= 3600
    keeper.sql(schedule + "NULL)", "new")
    fires_in = seen(line).fires_in
    assert fires_in is not None
    assert fires_in <= 0


#: The statements of the keeper that look at revisions, with parameters.
LOOKS = {
    "tick": {"handlers": "text[]: {default}", "how_many": "integer: 2", "manager": "text: a/1-0"},
    "renew": {"workers": "text[]: {a,b}", "lease": "interval: 1 minute"},
    "held_by": {"worker": "text: a", "manager": "text: a/"},
    "expired": {"lease": "interval: 1 minute", "how_many": "integer: 20"},
    "unhandled": {"patience": "interval: 10 s", "how_many": "integer: 100"},
    "heal": {"after": "text: ", "how_many": "integer: 1"},
    "carry_out_cancels": {"how_many": "integer: 100"},
    "is_empty": {},
}


def prepare(keeper: Session, name: str) -> None:
    """Let the session make its plan for a statement."""
    text = statement(name, keeper.schema).as_bytes(keeper.connection).decode()
    types = []
    for place, (parameter, value) in enumerate(LOOKS[name].items(), 1):
        text = text.replace(f"%({parameter})s", f"${place}")
        types.append(value.partition(":")[0])
    given = f"({', '.join(types)})" if types else ""
    keeper.connection.execute(f"PREPARE looks {given} AS {text.replace('%%', '%')}".encode(), prepare=False)


def pages(keeper: Session, name: str) -> int:
    """Return how many pages a statement touches, by the plan that was made before."""
    values = ", ".join(f"'{value.partition(': ')[2]}'" for value in LOOKS[name].values())
    query = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF, FORMAT JSON) EXECUTE looks "
    ((plan,),) = keeper.connection.execute((query + (f"({values})" if values else "")).encode(), prepare=False)
    top: dict[str, Any] = plan[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


ADD = (
    "INSERT INTO {schema}.workers (id, manager_id, host, slot, generation, worker_pid, state, last_heartbeat) "
    "SELECT %s, 'm', 'h', 'W1', 1, 1, %s, clock_timestamp() - %s::interval"
)
PENDING = (
    "INSERT INTO {schema}.revisions (item_key, parked, created_at, run_at) "
    "SELECT %s, %s, now() - interval '1 h', now() - interval '1 h' FROM generate_series(1, %s) g"
)
PROCESSING = (
    "INSERT INTO {schema}.revisions (item_key, status, worker_id, claim_token, lease_expires_at) "
    "SELECT 'busy' || g, 'processing', 'x', gen_random_uuid(), now() + interval '1 hour' FROM generate_series(1, %s) g"
)
COMPLETED = (
    "INSERT INTO {schema}.revisions (item_key, status, completed_at, revision_number) "
    "SELECT 'page', 'completed', now(), g FROM generate_series(1, %s) g"
)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name in LOOKS
        for shape in ("waiting", "parked", "processing", "completed")
        if shape != "processing" or name not in ("renew", "held_by", "expired")  # these walk what is processing
    ],
)
def test_looking_costs_the_same_whatever_is_queued(keeper: Session, name: str, shape: str) -> None:
    """A keeper that made its plans when there was nothing keeps them when there is much, and they still fit."""
    keeper.sql("SET statement_timeout = '60s'")
    keeper.sql(ADD, "w", "idle", "1 s")
    keeper.sql("UPDATE {schema}.workers SET handlers = '{another}'")
    keeper.sql("TRUNCATE {schema}.revisions CASCADE")
    keeper.sql("VACUUM ANALYZE {schema}.revisions")
    prepare(keeper, name)
    pages(keeper, name)
    few = pages(keeper, name)
    match shape:
        case "waiting":
            keeper.sql(PENDING, "page", None, MANY)
        case "parked":
            keeper.sql(PENDING, "page", "behind", MANY)
        case "processing":
            keeper.sql(PROCESSING, MANY)
        case "completed":
            keeper.sql(COMPLETED, MANY)
    pages(keeper, name)
    many = pages(keeper, name)
    print(name, shape, few, many)
    assert many <= few + 60


def beat(keeper: Session, *ids: str) -> dict[str, tuple[str, bool]]:
    """Beat for these workers; returns of each row its state, and whether it was seen just now."""
    same = len(ids)
    keeper.call(
        "beat",
        ids=list(ids), revisions=[7] * same, processed=[3] * same, restarts=[1] * same, rss=[4096] * same,
        silence="30 seconds",
    )  # fmt: skip
    fresh = "last_heartbeat > clock_timestamp() - interval '1 second'"
    rows = keeper.sql(f"SELECT id, state, {fresh} FROM {{schema}}.workers ORDER BY id")
    return {row[0]: (row[1], row[2]) for row in rows}


def test_a_heartbeat_is_for_the_living_and_of_the_silent(keeper: Session) -> None:
    """Ours are seen, however long this host was away; the silent of other hosts are gone; rows of the dead go."""
    for worker, state, ago in (
        ("ours", "idle", "1 hour"), ("theirs", "busy", "20 seconds"), ("silent", "busy", "40 seconds"),
        ("dead", "gone", "1 hour"), ("long dead", "gone", "2 days"),
    ):  # fmt: skip
        keeper.sql(ADD, worker, state, ago)
    assert beat(keeper, "ours") == {
        "dead": ("gone", False), "ours": ("idle", True), "silent": ("gone", False), "theirs": ("busy", False),
    }  # fmt: skip
    facts = (
        "SELECT current_revision_id, processed_count, restart_count, rss_bytes FROM {schema}.workers WHERE id = 'ours'"
    )
    assert keeper.sql(facts) == [(7, 3, 1, 4096)]
    assert beat(keeper) == {
        "dead": ("gone", False), "ours": ("idle", True), "silent": ("gone", False), "theirs": ("busy", False),
    }  # fmt: skip


def test_nobodys_lock_keeps_a_heartbeat(keeper: Session, worker: Session) -> None:
    """R9: a row that somebody has locked is left alone; all the others are written at once."""
    for name, ago in (("a", "20 s"), ("b", "20 s"), ("silent", "1 h"), ("silent too", "1 h")):
        keeper.sql(ADD, name, "idle", ago)
    keeper.sql("SET lock_timeout = '100ms'")
    worker.begin()
    worker.sql("SELECT 1 FROM {schema}.workers WHERE id IN ('a', 'silent') FOR UPDATE")
    assert beat(keeper, "a", "b") == {
        "a": ("idle", False), "b": ("idle", True), "silent": ("idle", False), "silent too": ("gone", False),
    }  # fmt: skip
    worker.commit()
    assert beat(keeper, "a", "b")["a"] == ("idle", True)
    assert beat(keeper, "a", "b")["silent"] == ("gone", False)
