"""Handlers under a remote worker: the job is the same as in the pool, and so is what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.process.asking import shared, token_of
from tests.process.daemon import Daemon, until
from tests.process.remote import Remote


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here; only the remote worker has the handlers that are asked for."""
    settings = {"api_token": "a token", "workers": 1, "unhandled_after": "10m", "poll_interval": "200ms"}
    with shared(server, template, tmp_path_factory.mktemp("remote"), **settings) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def lasting(daemon: Daemon) -> Iterator[Remote]:
    """One remote worker for all tests here."""
    remote = Remote.python(daemon, token_of(daemon, "far"), name="lasting")
    try:
        yield remote
        assert remote.stop() == 0
        assert remote.events("worker.stopped")
    finally:
        remote.clear()


def test_a_handler_sees_the_same_job_as_in_the_pool(daemon: Daemon, lasting: Remote) -> None:
    """Payload, base, metadata, limits, keys; what it says is in the table, cleaned of what the database cannot hold."""
    first = daemon.insert("about", "far about", {"n": 1, "text": "x" * 100_000})
    result = daemon.ended(first)["result"]
    assert (result["payload"], result["base"]) == ({"n": 1, "text": "x" * 100_000}, None)
    assert (result["id"], result["item_key"], result["handler"]) == (first, "about", "far about")
    assert (result["attempt"], result["max_attempts"], result["idempotency_key"]) == (1, 7, f"{first}:1")
    assert result["token"] is None, "what a handler starts does not find the token"
    second = daemon.ended(daemon.insert("about", "far about", max_attempts=2))
    assert (second["result"]["base"], second["result"]["max_attempts"]) == (result, 2)
    assert second["result"]["fence"] > result["fence"]
    row = daemon.row(first)
    assert (row["progress_percentage"], row["current_step"], row["total_steps"]) == (100, "looking around", 2)
    lines = daemon.sql("SELECT level, message, data FROM execution_log WHERE revision_id = %s ORDER BY id", first)
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "some words"),
        ("warning", " "),
        ("error", "nul \\x00 and surrogate \\ud800"),
    ]
    assert lines[0]["data"] == {"number": 1}
    assert "nan" in lines[1]["data"]["data"]
    assert daemon.ended(daemon.insert("async", "far async", {"seconds": 0.1}))["result"] == {"waited": 0.1}
    lasting.event("revision.completed", revision_id=first, attempt=1)


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [
        ("error", "completed", "Retry 1/2: ValueError: an ordinary error"),
        ("retry", "completed", "Retry 1/2: the handler asked for a retry"),
        ("fail", "failed", "no hope"),
        ("cancelled", "cancelled", "of its own accord"),
        ("not json", "failed", "the handler's result is not JSON: TypeError"),
        ("surrogate", "failed", "the handler's result is not JSON: UnicodeEncodeError"),
        ("nul", "failed", "a text holds NUL"),
        ("large", "failed", "a body of at most 16777216 bytes"),
    ],
)
def test_an_end_is_what_it_is_in_the_pool(daemon: Daemon, lasting: Remote, how: str, status: str, told: str) -> None:
    """Errors are tried again with the handler's limits, and what would not help is not."""
    row = daemon.ended(daemon.insert(how, "far ends", {"how": how}))
    assert (row["status"], row["attempt"]) == (status, 2 if status == "completed" else 1)
    if status == "completed":
        assert any(told in line for line in daemon.lines(row["id"]))
    else:
        assert told in row["error_message"]
    assert row["error_kind"] == {"fail": "invalid_payload", "cancelled": "cancelled"}.get(how, row["error_kind"])


def test_a_snooze_is_not_counted(daemon: Daemon, lasting: Remote, tmp_path: Path) -> None:
    """It runs later, in its place, as its first attempt."""
    payload = {"how": "snooze", "file": str(tmp_path / "snoozed")}
    first, behind = daemon.insert("snoozed", "far ends", payload), daemon.insert("snoozed", "far ends", payload)
    assert daemon.ended(first)["result"] == {"attempt": 1}
    assert daemon.ended(behind)["started_at"] >= daemon.row(first)["completed_at"]
    assert any("not yet" in line for line in daemon.lines(first))


@pytest.mark.parametrize("what", ["transaction", "then", "result_of", "keep_artifact"])
def test_what_needs_the_database_is_refused_with_a_sentence(daemon: Daemon, lasting: Remote, what: str) -> None:
    """At once, and for good: trying again would not help."""
    row = daemon.ended(daemon.insert(what, "far database", {"what": what}))
    assert (row["status"], row["attempt"]) == ("failed", 1)
    assert f"job.{what}() needs the database, which a remote worker does not have: " in row["error_message"]


def test_all_that_is_said_is_told_before_the_end(daemon: Daemon, lasting: Remote) -> None:
    """More lines than one message takes, in order; callbacks run here."""
    row = daemon.ended(daemon.insert("talk", "far talk", {"lines": 450}))
    assert daemon.lines(row["id"]) == [f"line {number}" for number in range(450)]
    assert until(lambda: daemon.entries("callback", row["id"]))[0][-1] == "normal"


def test_a_time_limit_is_kept(daemon: Daemon, lasting: Remote) -> None:
    """A handler with checkpoints ends as timed out."""
    row = daemon.ended(daemon.insert("patient", "far patient"))
    assert (row["status"], row["error_kind"]) == ("failed", "timeout")
