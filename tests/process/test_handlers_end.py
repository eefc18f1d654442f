"""Every kind of handler end is recorded, as what it was, and the next revision is not touched by it."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.process.daemon import Daemon, until

Pool = Callable[..., Daemon]


@pytest.fixture(scope="module")
def shared(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all cases here: what one handler does must not change what becomes of the next."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name, template)
    daemon = Daemon(server.url(name), tmp_path_factory.mktemp("shared"), unhandled_after="1s", max_crashes=2)
    try:
        yield daemon.start()
        assert daemon.stop() == 0
    finally:
        daemon.clear()
        server.drop(name)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("ValueError", "ValueError: an ordinary error"),
        ("SystemExit", "SystemExit"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("GeneratorExit", "GeneratorExit"),
        ("CancelledError", "CancelledError"),
        ("RecursionError", "RecursionError"),
        ("BaseException", "BaseException: at the root"),
        ("Unspeakable", "Unspeakable (its message cannot be shown)"),
        ("long", "characters left out"),
        ("surrogate", "nul \\x00 and surrogate \\ud800 here"),
        ("Fail", "no hope for this one"),
    ],
)
@pytest.mark.parametrize("handler", ["raise", "raise async"])
def test_any_error_is_recorded_on_its_revision(shared: Daemon, handler: str, error: str, told: str) -> None:
    """Whatever is raised, by a function or a coroutine: failed, kind error, with a message that a table can hold."""
    row = shared.ended(shared.insert("page", handler, {"error": error}))
    assert (row["status"], row["error_kind"], row["crash_count"]) == ("failed", "error", 0)
    assert told in row["error_message"]
    assert len(row["error_message"]) < 9000


def test_what_a_handler_logs_is_in_both_logs(shared: Daemon) -> None:
    """job.log: a line of the execution log, and an event of the daemon's own, here at level debug."""
    revision = shared.insert("page", "ghost", {"seconds": 0})
    assert shared.ended(revision)["status"] == "completed"
    event = shared.event("revision.logged", revision_id=revision)
    assert (event["attempt"], event["level"], event["message"]) == (1, "debug", "attempt 1 is at its end")
    assert shared.lines(revision) == ["attempt 1 is at its end"]


def test_a_worker_that_ran_out_of_memory_is_replaced(shared: Daemon) -> None:
    """MemoryError: the revision fails with that, its worker leaves as planned, and the slot is not charged."""
    before = len(shared.events("child.exited", why="the worker was replaced as planned"))
    row = shared.ended(shared.insert("page", "raise", {"error": "MemoryError"}))
    assert "out of memory" in row["error_message"]
    until(lambda: len(shared.events("child.exited", why="the worker was replaced as planned")) > before)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("object", "TypeError"),
        ("nan", "ValueError"),
        ("bytes", "TypeError"),
        ("nul", "NUL"),
        ("surrogate", "surrogate"),
        ("circle", "ValueError"),
        ("key", "TypeError"),
    ],
)
def test_a_result_that_json_cannot_hold_is_an_error_that_says_so(shared: Daemon, kind: str, told: str) -> None:
    """A return value that is not JSON fails the revision at once, with the reason."""
    row = shared.ended(shared.insert("page", "answer", {"kind": kind}))
    assert (row["status"], row["error_kind"]) == ("failed", "error")
    assert "the handler's result is not JSON" in row["error_message"]
    assert told in row["error_message"]


@pytest.mark.parametrize(
    ("kind", "result"), [("none", None), ("text", "zażółć 🎈"), ("number", 7), ("escape", {"text": "a\\u0000b"})]
)
def test_any_json_value_is_a_result(shared: Daemon, kind: str, result: object) -> None:
    """Null, text, a number, and text that only looks like a NUL are stored as they are."""
    row = shared.ended(shared.insert("page", "answer", {"kind": kind}))
    assert (row["status"], row["result"]) == ("completed", result)


def test_a_coroutine_is_a_handler(shared: Daemon) -> None:
    """async def handlers run in an event loop and may gather others."""
    row = shared.ended(shared.insert("page", "echo", {"a": [1, "ü"]}))
    assert row["result"] == {"payload": {"a": [1, "ü"]}, "gathered": ["one", "two"]}


@pytest.mark.parametrize("payload", ["[1, 2]", "7", "null", '"text"', "true", "[" * 3000 + "]" * 3000])
def test_a_payload_that_is_no_object_is_invalid(shared: Daemon, payload: str) -> None:
    """A scalar, an array, or one that Python cannot read fails as invalid_payload at the first attempt."""
    rows = shared.sql(
        "INSERT INTO revisions (item_key, handler, payload) VALUES ('page', 'work', %s::jsonb) RETURNING id", payload
    )
    row = shared.ended(rows[0]["id"])
    assert (row["status"], row["error_kind"], row["attempt"]) == ("failed", "invalid_payload", 1)
    assert "payload" in row["error_message"]


@pytest.mark.parametrize("payload", ['{"number": 1e400}', '{"deep": ' + "[" * 900 + "]" * 900 + "}"])
def test_an_odd_payload_cannot_hurt_a_worker(shared: Daemon, payload: str) -> None:
    """A number that Python cannot hold and a deep nesting: the revision ends, and no worker with it."""
    crashes = len(shared.events("revision.crashed"))
    rows = shared.sql(
        "INSERT INTO revisions (item_key, handler, payload) VALUES ('page', 'echo', %s::jsonb) RETURNING id", payload
    )
    row = shared.ended(rows[0]["id"])
    assert row["status"] in ("completed", "failed")
    assert row["crash_count"] == 0
    assert len(shared.events("revision.crashed")) == crashes


def test_a_handler_that_nobody_has_is_named(shared: Daemon) -> None:
    """A revision for an unknown handler fails after WORKERPOOL_UNHANDLED_AFTER with a sentence that names it."""
    row = shared.ended(shared.insert("page", "nobody has this"))
    assert (row["status"], row["error_kind"]) == ("failed", "error")
    assert "'nobody has this'" in row["error_message"]
    assert "WORKERPOOL_HANDLERS" in row["error_message"]


def test_the_default_handler_says_how_to_configure_it(shared: Daemon) -> None:
    """A revision that names no handler, with nothing configured, fails with a sentence that says what to set."""
    rows = shared.sql("INSERT INTO revisions (item_key, payload) VALUES ('page', '{}') RETURNING id")
    row = shared.ended(rows[0]["id"])
    assert row["status"] == "failed"
    assert "WORKERPOOL_COMMAND" in row["error_message"]


def test_what_a_handler_writes_is_in_its_execution_log(shared: Daemon) -> None:
    """print, sys.stderr, a write to the descriptor, and a child's output all become lines of the revision's log."""
    revision = shared.insert("page", "noise")
    assert shared.ended(revision)["status"] == "completed"
    wanted = {"by print", "by stderr", "by descriptor", "by child", "by child stderr"}
    until(lambda: wanted <= set(shared.lines(revision)), 5.0, f"{shared.lines(revision)}")


def test_words_written_past_python_are_ascribed_to_who_wrote_them(shared: Daemon) -> None:
    """However soon a handler is over and the next one begins."""
    rows = [shared.insert(f"item{n % 5}", "whisper") for n in range(50)]
    for each in rows:
        shared.ended(each)
    for each in rows:
        until(lambda each=each: shared.lines(each) == [f"the words of {each}"], 5.0, f"{each}: {shared.lines(each)}")


def test_a_flood_of_output_neither_blocks_nor_grows(shared: Daemon) -> None:
    """200 MB, by print and by descriptor: the handler is not held up, and what is kept is bounded."""
    revision = shared.insert("page", "flood", {"megabytes": 100})
    assert shared.ended(revision)["status"] == "completed"
    until(lambda: any("written past Python" in line for line in shared.lines(revision)), 5.0, "said so")
    lines = shared.lines(revision)
    assert any("more than 2000 lines" in line for line in lines)
    assert len(lines) < 2600
    assert sum(map(len, lines)) < 4_000_000


@pytest.mark.parametrize("how", ["chdir", "fork", "threads", "signals"])
def test_a_handler_that_meddles_with_its_process_does_not_disturb_the_next(
    shared: Daemon, tmp_path: Path, how: str
) -> None:
    """Another working directory, a fork whose child returns, a thread that stays, signals ignored: the revision
    completes, once, and so do those after it.
    """
    revision = shared.insert("page", "vandal", {"how": how, "folder": str(tmp_path / "gone")})
    assert shared.ended(revision)["status"] == "completed"
    assert len(shared.entries("begin", revision)) == 1
    after = [shared.insert(f"after{n}", "folder") for n in range(4)]
    for each in after:
        row = shared.ended(each)
        assert (row["status"], row["attempt"]) == ("completed", 1)
        assert row["result"] == str(shared.folder)


def test_a_handler_that_closes_everything_crashes_its_worker_and_no_other(shared: Daemon) -> None:
    """Every descriptor closed: the worker cannot go on and is replaced; the revision says why, the next one is well."""
    revision = shared.insert("page", "vandal", {"how": "close"})
    row = shared.ended(revision)
    assert (row["status"], row["error_kind"], row["crash_count"]) == ("failed", "poison", 2)
    assert "closed the descriptors" in row["error_message"]
    assert shared.ended(shared.insert("page", "work"))["attempt"] == 1


def test_handlers_that_cannot_be_interrupted_by_their_own_exit(pool: Pool) -> None:
    """Many ends of every kind at once, on two workers: every revision ends, each exactly as often as it should."""
    daemon = pool(max_crashes=2).start()
    started = time.monotonic()
    errors = ["SystemExit", "KeyboardInterrupt", "Unspeakable", "ValueError"]
    rows = [daemon.insert(f"item{n % 7}", "raise", {"error": errors[n % 4]}) for n in range(60)]
    rows += [daemon.insert(f"item{n % 7}", "work") for n in range(60)]
    for each in rows:
        row = daemon.ended(each)
        assert row["attempt"] == 1
        assert len(daemon.entries("begin", each)) == 1
    assert not daemon.events("child.restarted")
    assert time.monotonic() - started < 20
    assert daemon.stop() == 0
