"""`Client`: what a program does to revisions and items, beside enqueueing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.calling import HANDLERS, until
from workerpool.client import CannotEnqueue, CannotRevert, Client, NewRevision, NoSuchRevision


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    """A client of a database without a pool."""
    with Client(database, "workerpool") as opened:
        yield opened


def test_the_verbs_answer_what_became_of_each_revision(client: Client) -> None:
    """cancel, retry, queue, edit, halt and unhalt, in the words of the reference."""
    first, second = client.enqueue("page").id, client.enqueue("page", draft=True).id
    assert [(each.answer, each.status) for each in client.cancel(first, 99)] == [
        ("cancelled", "cancelled"),
        ("missing", None),
    ]
    assert [each.answer for each in client.cancel(first)] == ["ended"]
    assert [each.answer for each in client.retry(first, second, 99)] == ["retried", "not_ended", "missing"]
    assert client.edit(second, payload={"n": 1}, run_at=datetime.now(UTC) + timedelta(hours=1)).answer == "edited"
    assert [(each.answer, each.status) for each in client.queue(second, first)] == [
        ("queued", "scheduled"),
        ("not_a_draft", "pending"),
    ]
    assert client.edit(second, run_at="now").status == "pending"
    client.cancel(first)
    appended = client.retry(first, append=True)[0]
    assert (appended.answer, client.show(appended.new_id or 0).item_key) == ("appended", "page")
    assert (client.halt("page", "why"), client.halt("page", "why")) == (True, False)
    assert (client.unhalt("page"), client.unhalt("page")) == (True, False)
    with pytest.raises(CannotRevert, match="its history goes to 0"):
        client.revert("page", 1)
    with pytest.raises(CannotEnqueue, match="priority is 99999"):
        client.edit(second, priority=99999)


def test_a_follow_up_comes_once_whenever_it_was_asked_for(client: Client) -> None:
    """Before the end it waits for it; after the end it comes at once; for another end never."""
    first = client.enqueue("page").id
    waits = client.then(first, "after", {"n": 1}, on="cancelled")
    other = client.then(first, "never", on="completed")
    assert waits.enqueued_id is None
    client.cancel(first)
    at_once = client.then(first, "after", {"n": 2}, on="any")
    assert at_once.enqueued_id is not None
    assert client.show(at_once.enqueued_id).payload == {"n": 2}
    assert client.show(at_once.enqueued_id - 1).payload == {"n": 1}
    assert other.enqueued_id is None
    with pytest.raises(NoSuchRevision):
        client.then(99, "after")


def test_many_are_added_whole_and_in_order_by_copy(
    client: Client, database: str, connection: psycopg.Connection
) -> None:
    """Beyond a few hundred they are copied: the same answers, the same order, in the caller's transaction or alone."""
    many = [NewRevision(f"item{n % 7}", {"n": n}, dedupe_key="k" if n % 100 == 0 else None) for n in range(2000)]
    added = client.enqueue_many(many)
    ids = [each.id for each in added if each.inserted]
    assert ids == sorted(ids)
    payloads = connection.execute("SELECT id, (payload ->> 'n')::integer FROM workerpool.revisions").fetchall()
    assert {(each.id, n) for n, each in enumerate(added) if each.inserted} == set(payloads)
    assert [added[n].id for n in range(0, 2000, 700)] == [added[0].id] * 3
    with psycopg.connect(database) as caller:
        client.enqueue_many(many, connection=caller)
        client.enqueue_many(many, connection=caller)
        caller.rollback()
    count = connection.execute("SELECT count(*) FROM workerpool.revisions").fetchone()
    assert count == (len(ids),)
    with pytest.raises(CannotEnqueue):
        client.enqueue_many([*many, NewRevision("")])
    assert connection.execute("SELECT count(*) FROM workerpool.revisions").fetchone() == count


def test_many_without_keys_are_whole_on_the_client_s_own_connection(
    client: Client, connection: psycopg.Connection
) -> None:
    """What is due later is scheduled; where the server refuses one, none is there and the client goes on."""
    later = datetime.now(UTC) + timedelta(hours=1)
    many = [NewRevision("page", {"n": n}, run_at=later if n % 50 == 7 else None) for n in range(2000)]
    added = client.enqueue_many(many)
    found = connection.execute("SELECT id, (payload ->> 'n')::integer, status FROM workerpool.revisions ORDER BY id")
    assert found.fetchall() == [(each.id, n, "scheduled" if n % 50 == 7 else "pending") for n, each in enumerate(added)]
    with pytest.raises(psycopg.DataError):
        client.enqueue_many([*many, NewRevision("page", run_at="no instant")])  # type: ignore[arg-type]
    assert client.enqueue("page").id > added[-1].id
    assert connection.execute("SELECT count(*) FROM workerpool.revisions").fetchone() == (2001,)


def test_queue_starts_workers_where_none_is_alive(
    client: Client, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They perform it, a second call finds them, and they end with the client."""
    (tmp_path / "client_handlers.py").write_text(HANDLERS)
    monkeypatch.setenv("WORKERPOOL_HANDLERS", str(tmp_path / "client_handlers.py"))
    monkeypatch.setenv("WORKERPOOL_HOME", str(tmp_path / "home"))
    alive = "SELECT count(*) FROM workerpool.workers WHERE is_active"
    with Client(database, "workerpool") as own, psycopg.connect(database, autocommit=True) as connection:
        draft = own.enqueue("page", handler="good", draft=True).id
        assert own.queue(draft, ensure_workers=True)[0].answer == "queued"
        assert own.wait(draft, timedelta(seconds=30)).status == "completed"
        until(lambda: connection.execute(alive).fetchone() == (2,))
        with Client(database, "workerpool") as second:
            second.queue(second.enqueue("page", handler="good", draft=True).id, ensure_workers=True)
        assert connection.execute(alive).fetchone() == (2,)
        own.close()
        assert connection.execute(alive).fetchone() == (0,)
