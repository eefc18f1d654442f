"""Enqueueing: the order of ids, all or none, every text as it was given, however many there are and whose the
connection is.
"""

import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row, tuple_row

from tests.conftest import Databases
from workerpool.store import enqueueing
from workerpool.store.asked import lines, written
from workerpool.store.enqueueing import CannotEnqueue, Enqueued, NewRevision, NotAdded, enqueue, problems

SCHEMA = "workerpool"
MANY = enqueueing.LARGE_WITH_KEYS + 100
ADD = "INSERT INTO workerpool.revisions (item_key) VALUES ('other') RETURNING id"
WAKE = """
INSERT INTO workerpool.workers (id, manager_id, host, slot, generation, worker_pid, state)
VALUES ('w', 'm', 'h', 'W1', 1, 1, 'idle')
"""
NASTY = [
    "tab\there",
    "line\nfeed",
    "car\rriage",
    "back\\slash",
    "\\N",
    "\\.",
    '"quoted"',
    "'",
    "{,}",
    "%s",
    "ünï ☃ 𝄞",
    "\x01",
]


@pytest.fixture
def other(database: str) -> Iterator[psycopg.Connection]:
    """Somebody else's connection, autocommit."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def plain(count: int = MANY) -> list[NewRevision]:
    """Return revisions without dedupe keys that say who they are."""
    return [NewRevision(f"item{n % 7}", {"n": n}) for n in range(count)]


def told(connection: psycopg.Connection, done: list[Enqueued]) -> list[Any]:
    """Return the n of the payload of each, by the ids that were told."""
    query = "SELECT id, (payload ->> 'n')::integer FROM workerpool.revisions WHERE item_key <> 'other'"
    known = dict(psycopg.Cursor(connection, row_factory=tuple_row).execute(query).fetchall())
    assert len(known) == len(done)
    return [known[each.id] for each in done]


def one(connection: psycopg.Connection, query: str) -> Any:
    """Return the first value of a query's first row."""
    row = psycopg.Cursor(connection, row_factory=tuple_row).execute(query).fetchone()
    assert row is not None
    return row[0]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], each: int = 150) -> None:
    """Let somebody act before each COPY sends its rows, of which there are *each*."""

    def first_others(*given: Any) -> str:
        act()
        return lines(*given)

    monkeypatch.setattr(enqueueing, "COPIED", each)
    monkeypatch.setattr(enqueueing, "lines", first_others)


def test_ids_rise_in_the_order_given_and_above_all_that_was_there(
    database: str, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others enqueue and commit in between: what they commit has a lower id than all that is inserted afterwards (P3),
    and is not taken for ours.
    """
    theirs: list[int] = []
    meanwhile(monkeypatch, lambda: theirs.append(one(other, ADD)))
    with psycopg.connect(database, autocommit=True) as own:
        before = one(other, ADD)
        done = enqueue(own, SCHEMA, plain())
    ids = [each.id for each in done]
    assert ids == sorted(ids)
    assert before < ids[0]
    assert told(other, done) == list(range(MANY))
    assert len(theirs) >= 3
    for place, id in enumerate(theirs):
        assert ids[150 * place] < id < ids[150 * place + 1]


def test_alone_the_ids_need_no_second_look(
    database: str, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody else enqueues they are the numbers from the first to the last."""
    asked: list[str] = []
    rows = enqueueing.rows
    monkeypatch.setattr(enqueueing, "rows", lambda *given, **values: asked.append(given[2]) or rows(*given, **values))
    with psycopg.connect(database, autocommit=True) as own:
        done = enqueue(own, SCHEMA, plain())
    assert asked == []
    assert told(other, done) == list(range(MANY))


def test_the_caller_s_transaction_and_savepoints_hold_it(
    database: str, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees it before the commit; a savepoint takes its part back; the ids are right inside of all of them."""
    meanwhile(monkeypatch, lambda: one(other, ADD))
    count = "SELECT count(*) FROM workerpool.revisions WHERE item_key <> 'other'"
    with psycopg.connect(database, row_factory=dict_row, prepare_threshold=0) as caller:
        enqueue(caller, SCHEMA, plain())
        assert one(other, count) == 0
        caller.rollback()
        assert one(caller, count) == 0
        caller.rollback()
        with caller.transaction():
            first = enqueue(caller, SCHEMA, plain())
            with caller.transaction(force_rollback=True):
                enqueue(caller, SCHEMA, plain())
                enqueue(caller, SCHEMA, plain(1))
            assert told(caller, first) == list(range(MANY))
            second = enqueue(caller, SCHEMA, plain())
            assert one(other, count) == 0
        assert one(other, count) == 2 * MANY
        assert [each.id for each in first + second] == sorted(each.id for each in first + second)


@pytest.mark.parametrize("count", [1, 40, MANY])
def test_a_pipeline_and_a_begun_transaction_are_the_caller_s(
    database: str, other: psycopg.Connection, count: int
) -> None:
    """Enqueueing neither commits nor ends them."""
    with psycopg.connect(database) as caller, caller.pipeline():
        piped = enqueue(caller, SCHEMA, plain(count))
        caller.rollback()
        assert told(other, []) == []
        again = enqueue(caller, SCHEMA, plain(count))
        caller.commit()
    assert told(other, again) == list(range(count))
    assert piped[-1].id < again[0].id


@pytest.mark.parametrize("copies", [1, 4, MANY])
@pytest.mark.parametrize("key", [None, "k\t\\"])
def test_every_text_arrives_as_it_was_given(
    database: str, other: psycopg.Connection, copies: int, key: str | None
) -> None:
    """In items, handlers, payloads and metadata, one, some or many, with and without dedupe keys."""
    when = datetime(2031, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    new = [
        NewRevision(
            f"{text}{n}", {text: [text]}, text, n - 3, when if n % 3 else None, key, n % 5 == 0,
            n + 1 if n % 2 else None, timedelta(seconds=n + 0.25) if n % 2 else None, {"of": text} if n % 2 else None,
        )
        for n in range(copies)
        for text in NASTY[: 1 if copies == 1 else None]
    ]  # fmt: skip
    if copies == 1:
        new = [NewRevision(NASTY[0], {NASTY[3]: NASTY[1]}, NASTY[6], metadata=NASTY, dedupe_key=key)]
    with psycopg.connect(database, autocommit=True) as own:
        done = enqueue(own, SCHEMA, new)
    found = other.execute(
        "SELECT item_key::text, payload, handler::text, priority, NULLIF(run_at, created_at), dedupe_key, "
        "status::text, max_attempts::integer, timeout_seconds::float, metadata FROM workerpool.revisions ORDER BY id"
    ).fetchall()
    assert found == [
        (
            each.item, each.payload, each.handler, each.priority, each.run_at, each.dedupe_key,
            "draft" if each.draft else "scheduled" if each.run_at else "pending", each.max_attempts,
            each.timeout.total_seconds() if each.timeout else None, each.metadata,
        )
        for each in new
    ]  # fmt: skip
    assert [each.id for each in done] == sorted(each.id for each in done)


@pytest.mark.parametrize("count", [1, 40, MANY])
def test_a_dedupe_key_that_is_held_adds_nothing(database: str, other: psycopg.Connection, count: int) -> None:
    """Its holder is told; plain ones between keep their place; an ended holder holds nothing."""
    odd = min(count - 1, 1)
    with psycopg.connect(database, autocommit=True) as own:
        held = enqueue(own, SCHEMA, [NewRevision("page", dedupe_key="k", draft=True)])[0]
        assert held.inserted
        mixed = [NewRevision("page", {"n": n}, dedupe_key="k" if n % 3 == odd else None) for n in range(count)]
        done = enqueue(own, SCHEMA, mixed)
        assert [each for each in done if not each.inserted] == [Enqueued(held.id, False)] * len(range(odd, count, 3))
        added = [each.id for each in done if each.inserted]
        assert added == sorted(added)
        own.execute("SELECT workerpool.cancel(ARRAY[%s]::bigint[], 'me', '')", [held.id])
        assert enqueue(own, SCHEMA, [NewRevision("page", dedupe_key="k")])[0].inserted
    payloads = other.execute(
        "SELECT (payload ->> 'n')::int FROM workerpool.revisions WHERE payload <> '{}' ORDER BY id"
    )
    assert [row[0] for row in payloads] == [n for n in range(count) if n % 3 != odd]


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("place", [0, 1, MANY // 2, MANY - 1])
def test_what_the_server_refuses_leaves_nothing(
    database: str, other: psycopg.Connection, place: int, key: str | None
) -> None:
    """Wherever it is; and the caller's transaction can go on."""
    new = plain()
    new[place] = NewRevision("bad", run_at="no instant", dedupe_key=key)  # type: ignore[arg-type]
    with psycopg.connect(database) as caller:
        caller.execute(ADD)
        with pytest.raises(psycopg.DataError):
            enqueue(caller, SCHEMA, new)
        assert enqueue(caller, SCHEMA, plain(1))[0].inserted
    assert one(other, "SELECT count(*) FROM workerpool.revisions") == 2


WRONG: list[dict[str, Any]] = [
    {"item": ""}, {"item": "x" * 513}, {"item": "a\0b"}, {"item": "\ud800"}, {"item": 7}, {"item": None},
    {"handler": ""}, {"handler": "x" * 201}, {"handler": b"x"}, {"dedupe_key": ""}, {"dedupe_key": "x" * 1001},
    {"priority": 40000}, {"priority": -32769}, {"priority": True}, {"priority": False}, {"priority": 0.0},
    {"priority": None}, {"max_attempts": 0}, {"max_attempts": 2**31}, {"max_attempts": True}, {"max_attempts": 1.0},
    {"timeout": timedelta(0)}, {"timeout": timedelta(-1)}, {"payload": []}, {"payload": None}, {"payload": "{}"},
    {"payload": {"a": float("nan")}}, {"payload": {"a": "\0"}}, {"payload": {"a": "\ud800"}}, {"payload": {"a": {1}}},
    {"metadata": float("inf")}, {"metadata": ["\0"]}, {"metadata": {1}}, {"payload": {(): 1}},
]  # fmt: skip


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_the_queue_cannot_hold_is_told_before_anything_is_written(wrong: dict[str, Any], count: int) -> None:
    """The quick look at all finds whatever the look at each does, and says the same."""
    bad = NewRevision(**{"item": "page", **wrong})
    expected = list(problems(bad))
    assert expected
    for usual in (NewRevision("i", {}), NewRevision("i", {"a": 1}, "h", 1, None, "k", False, 1, timedelta(1), {})):
        new = [usual] * count
        new[count // 2] = bad
        with pytest.raises(CannotEnqueue) as raised:
            written(new)
        assert [str(each) for each in raised.value.problems] == [str(each) for each in expected]


def test_what_only_looks_wrong_is_taken(database: str, other: psycopg.Connection) -> None:
    """The text of a backslash before u0000, a kind of text, a kind of object, the longest texts."""

    class Name(str):
        __slots__ = ()

    odd = [
        NewRevision("i" * 512, {"a": "\\u0000"}, "h" * 200),
        NewRevision(Name("i\t"), OrderedDict(a=1), dedupe_key=Name("k")),
        NewRevision("ü" * 512, {"a": "\\\\u0000"}, priority=-32768, max_attempts=2**31 - 1),
    ]
    assert [list(problems(each)) for each in odd] == [[]] * 3
    with psycopg.connect(database, autocommit=True) as own:
        for new in (odd, [*odd[::2], *plain()]):
            enqueue(own, SCHEMA, new)
    payloads = other.execute("SELECT payload ->> 'a' FROM workerpool.revisions WHERE payload ? 'a' ORDER BY id")
    assert [row[0] for row in payloads] == ["\\u0000", "1", "\\\\u0000", "\\u0000", "\\\\u0000"]


def test_who_may_only_insert_enqueues(server: Databases, database: str, other: psycopg.Connection) -> None:
    """With the rights that docs/operations.md names; row security, which COPY refuses, makes it another way."""
    role = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    admin = server.admin if server.admin == server.plain else server.admin.replace("/postgres", f"/{other.info.dbname}")
    with psycopg.connect(admin, autocommit=True) as own:
        own.execute(
            f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA workerpool TO {role}; "
            f"GRANT SELECT, INSERT ON workerpool.revisions TO {role}; SET ROLE {role}"
        )
        try:
            for secured in ("DISABLE", "ENABLE"):
                other.execute(f"ALTER TABLE workerpool.revisions {secured} ROW LEVEL SECURITY")
                if secured == "ENABLE":
                    other.execute("CREATE POLICY all_of_it ON workerpool.revisions USING (true)")
                for count in (1, 40, MANY):
                    other.execute("DELETE FROM workerpool.revisions")
                    assert told(other, enqueue(own, SCHEMA, plain(count))) == list(range(count))
                assert enqueue(own, SCHEMA, [NewRevision("k", {"n": 0}, dedupe_key="k")] * MANY)[-1].inserted is False
        finally:
            other.execute("DROP POLICY IF EXISTS all_of_it ON workerpool.revisions")
            other.execute("ALTER TABLE workerpool.revisions DISABLE ROW LEVEL SECURITY")
            own.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_trigger_that_enqueues_too_does_not_confuse_the_ids(database: str, other: psycopg.Connection) -> None:
    """Its rows are of the same transaction and between ours."""
    other.execute(
        "CREATE FUNCTION workerpool.echo() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO workerpool.revisions (item_key) VALUES ('other'); RETURN NULL; END$$; "
        "CREATE TRIGGER echo AFTER INSERT ON workerpool.revisions FOR EACH ROW "
        "WHEN (NEW.item_key <> 'other') EXECUTE FUNCTION workerpool.echo()"
    )
    try:
        with psycopg.connect(database) as caller:
            done = enqueue(caller, SCHEMA, plain())
        assert told(other, done) == list(range(MANY))
        assert one(other, "SELECT count(*) FROM workerpool.revisions") == 2 * MANY
    finally:
        other.execute("DROP FUNCTION workerpool.echo CASCADE")


@pytest.mark.parametrize("count", [1, 40, MANY])
def test_what_a_trigger_takes_away_is_not_said_to_be_there(
    database: str, other: psycopg.Connection, count: int
) -> None:
    """A row that the table does not take is an error, and nothing of the rest is left."""
    other.execute(
        "CREATE FUNCTION workerpool.take() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$; "
        "CREATE TRIGGER take BEFORE INSERT ON workerpool.revisions FOR EACH ROW "
        "WHEN (NEW.item_key = 'taken') EXECUTE FUNCTION workerpool.take()"
    )
    try:
        with psycopg.connect(database) as caller:
            for place in {0, count // 2, count - 1}:
                new = plain(count)
                new[place] = NewRevision("taken")
                with pytest.raises(NotAdded, match="was not added"):
                    enqueue(caller, SCHEMA, new)
        assert told(other, []) == []
    finally:
        other.execute("DROP FUNCTION workerpool.take CASCADE")


@pytest.mark.parametrize("count", [1, 40, MANY])
def test_workers_are_told_only_where_one_is_hungry(database: str, other: psycopg.Connection, count: int) -> None:
    """By one notification for the commit, however the revisions came."""
    channel = one(
        other, "SELECT substring(prosrc FROM 'pg_notify[(]''([^'']+)''') FROM pg_proc WHERE proname = 'wake_hungry'"
    )
    other.execute(f'LISTEN "{channel}"')
    with psycopg.connect(database, autocommit=True) as own:
        enqueue(own, SCHEMA, plain(count))
        assert list(other.notifies(timeout=0.05)) == []
        own.execute(WAKE)
        enqueue(own, SCHEMA, plain(count))
        assert len(list(other.notifies(timeout=5, stop_after=1))) == 1
        assert list(other.notifies(timeout=0.05)) == []
