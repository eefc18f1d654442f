"""A user's test file: each test has a queue of its own, in a database of its own."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import shop_handlers

from workerpool.testing import Queue


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers write into the folder that they run in."""
    monkeypatch.chdir(tmp_path)


def test_an_order_is_shipped_and_its_customer_told(workerpool_queue: Queue) -> None:
    """One drain performs the order, and the revision that follows it."""
    workerpool_queue.client.enqueue("order/1", {"address": "Elm Street 1"}, handler="ship")
    shipped, told = workerpool_queue.drain(raising=True)
    assert shipped.result["summary"] == "shipped to Elm Street 1"
    assert Path(shipped.result["artifacts"][0]).read_bytes() == f"order/1 ship-{shipped.id}".encode()
    assert (told.item_key, told.status) == ("mail/Elm Street 1", "completed")


def test_an_order_without_address_fails_at_once(workerpool_queue: Queue) -> None:
    """There is no second attempt, and nobody is told."""
    workerpool_queue.client.enqueue("order/1", handler="ship")
    (order,) = workerpool_queue.drain()
    assert (order.status, order.attempt, order.error_message) == ("failed", 1, "the order has no address")
    assert workerpool_queue.enqueued() == []


def test_a_busy_carrier_is_asked_again_after_a_minute(workerpool_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the queue is moved; nothing sleeps."""
    workerpool_queue.client.enqueue("order/1", {"address": "Elm Street 1"}, handler="ship")
    monkeypatch.setattr(shop_handlers.carrier, "busy", True)
    workerpool_queue.drain()
    workerpool_queue.assert_enqueued(item="order/1", handler="ship")
    monkeypatch.undo()
    assert workerpool_queue.drain() == []
    workerpool_queue.clock.advance(timedelta(minutes=1))
    order, _told = workerpool_queue.drain()
    assert (order.status, order.attempt) == ("completed", 2)


def test_a_later_order_waits_for_its_day(workerpool_queue: Queue) -> None:
    """A revision with `run_at` is there, and not performed before."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    workerpool_queue.client.enqueue("order/2", {"address": "Elm Street 2"}, handler="ship", run_at=tomorrow)
    assert workerpool_queue.drain() == []
    order = workerpool_queue.assert_enqueued(payload={"address": "Elm Street 2"})
    assert order.status == "scheduled"
    workerpool_queue.clock.advance(timedelta(days=1))
    assert [each.item_key for each in workerpool_queue.drain()] == ["order/2", "mail/Elm Street 2"]
