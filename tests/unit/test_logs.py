"""The log has one form, forges nothing, shows no secret, and never makes the daemon wait or die."""

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from workerpool import logs

LIMIT = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test a strict catalogue, and later tests a log that they do not know of."""
    monkeypatch.setenv("WORKERPOOL_STRICT_EVENTS", "1")
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    with open(os.devnull, "w") as nowhere:
        logs.configure(stream=nowhere)
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    structlog.reset_defaults()


@pytest.fixture
def written(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """Log JSON to a file; call the fixture for the lines so far."""
    path = tmp_path / "log"
    logs.configure("debug", file=path, secrets=["hunter2!", 'qu"ote', "x"])

    def lines() -> list[dict[str, Any]]:
        assert logs.flush(LIMIT)
        return [json.loads(line) for line in path.read_text().splitlines()]

    return lines


def console(tmp_path: Path, secrets: tuple[str, ...] = ()) -> Path:
    """Log for people to a file."""
    path = tmp_path / "console"
    logs.configure("debug", "console", file=path, secrets=secrets)
    return path


def text_of(path: Path) -> str:
    """Everything logged so far."""
    assert logs.flush(LIMIT)
    return path.read_text()


def test_a_line_has_time_level_event_role_and_fields(written: Callable[[], list[dict[str, Any]]]) -> None:
    """Each line is one JSON object with an ISO time in UTC, and ids are fields."""
    logs.get("worker", slot="W1").info("revision.claimed", revision=42)
    (line,) = written()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "level": "info", "event": "revision.claimed", "role": "worker", "slot": "W1", "revision": 42,
        "pid": os.getpid(),
    }  # fmt: skip


def test_events_have_dotted_names_and_meanings() -> None:
    """The catalogue is what it says."""
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", event) and meaning for event, meaning in logs.EVENTS.items())


def test_an_event_that_is_not_listed_fails_in_tests(written: Callable[[], list[dict[str, Any]]]) -> None:
    """The catalogue is complete because tests run strictly."""
    with pytest.raises(logs.UnknownEvent, match="somebody did something"):
        logs.get("worker").info("somebody did something")


def test_an_event_that_is_not_listed_is_logged_in_life(
    written: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing entry is never a reason for a daemon to fail."""
    monkeypatch.delenv("WORKERPOOL_STRICT_EVENTS")
    logs.get("worker").info("something.new")
    assert [line["event"] for line in written()] == ["something.new"]


def test_less_important_events_are_left_out(tmp_path: Path) -> None:
    """The level is the least that is written."""
    logs.configure("warning", file=tmp_path / "log")
    logs.get("worker").info("revision.claimed")
    logs.get("worker").warning("database.lost")
    assert [json.loads(line)["event"] for line in text_of(tmp_path / "log").splitlines()] == ["database.lost"]


def test_control_characters_cannot_forge_lines(tmp_path: Path, written: Callable[[], list[dict[str, Any]]]) -> None:
    """S23: a newline or an escape sequence in an item's key stays inside its field, in JSON and on a terminal."""
    evil = 'page\n{"event":"forged"}\r\x1b[2J\x07\x9b31m\u2028\ud800'
    logs.get("worker").info("revision.claimed", item_key=evil, nested={"k": [evil]})
    (line,) = written()
    assert line["item_key"] == evil
    path = console(tmp_path)
    logs.get("worker").info("revision.claimed", item_key=evil, nested={"k": [evil]}, **{"a\x1b\nb": 1})
    text = text_of(path)
    assert text.count("\n") == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", text)


def test_no_secret_is_in_a_line(tmp_path: Path, written: Callable[[], list[dict[str, Any]]]) -> None:
    """S5: known secrets are hidden wherever they turn up, and passwords of addresses even when unknown."""

    def speak() -> None:
        logger = logs.get("keeper")
        logger.info(
            "database.lost", reason="hunter2!", nested={"hunter2!": ['qu"ote']}, url="postgresql://u:unknown@h/d"
        )
        try:
            raise ValueError("bad password hunter2!")
        except ValueError:
            logger.exception("duty.failed")

    speak()
    text = json.dumps(written())
    path = console(tmp_path, ("hunter2!", 'qu"ote', "x"))
    speak()
    text += text_of(path)
    assert not [secret for secret in ("hunter2", '"ote', "unknown") if secret in text]
    assert "postgresql://u:***@h/d" in text
    assert "exception" in text  # one letter is no secret


def test_any_value_can_be_logged(written: Callable[[], list[dict[str, Any]]]) -> None:
    """Objects that cannot be shown, keys that are no text, circles and huge texts do not raise."""

    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError

    circle: list[object] = []
    circle.append(circle)
    logger = logs.get("worker")
    logger.info("revision.logged", data=Silent(), time=timedelta(1))
    logger.info("revision.logged", data={(1, 2): 3}, circle=circle)
    logger.info("revision.logged", data="a" * 100_000 + "end")
    first, _, third = written()
    assert first["data"] == "<Silent that cannot be shown>"
    assert len(third["data"]) < 9000
    assert third["data"].endswith("end")


def test_libraries_write_lines_of_the_same_form(
    written: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a library logs becomes an event; its wrong format strings do not raise."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [h for h in root.handlers if type(h).__module__ == "workerpool.logs"])
    logging.getLogger("some.library").warning("x is %d", 1)
    logging.getLogger("some.library").error("x is %d", "one")
    assert [(line["event"], line["library"], line["message"], line["level"]) for line in written()] == [
        ("library.logged", "some.library", "x is 1", "warning"),
        ("library.logged", "some.library", "x is %d", "error"),
    ]


def test_json_is_written_when_nobody_watches_and_colour_on_a_terminal() -> None:
    """Format auto looks at the stream."""
    master, slave = os.openpty()
    reader, writer = os.pipe()
    with os.fdopen(slave, "w") as terminal, os.fdopen(writer, "w") as pipe:
        logs.configure(stream=terminal)
        logs.get("worker").info("revision.claimed")
        assert logs.flush(LIMIT)
        assert b"\x1b[" in os.read(master, 4096)
        logs.configure(stream=pipe)
        logs.get("worker").info("revision.claimed")
        assert logs.flush(LIMIT)
        assert json.loads(os.read(reader, 4096))["event"] == "revision.claimed"
    os.close(master)
    os.close(reader)


def test_a_pipe_nobody_reads_blocks_nothing_and_losses_are_told() -> None:
    """F70, F48: lines are dropped while the pipe is full; when somebody reads again, the log says how many."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writer, "w") as pipe, os.fdopen(reader, "rb", buffering=0) as end:
        logs.configure(stream=pipe)
        logger = logs.get("manager")
        began = time.monotonic()
        for number in range(20_000):
            logger.info("child.printed", number=number)
        assert not logs.flush(timedelta(milliseconds=50))
        assert time.monotonic() - began < 10
        lost = logs.dropped()
        assert lost > 10_000
        seen = b""
        while b"log.dropped" not in seen:
            seen += end.read(65536) or b""
        told = next(json.loads(line) for line in seen.splitlines() if b"log.dropped" in line)
        assert told["lines"] == lost


def test_a_full_disk_is_survived() -> None:
    """F70: a write that fails drops the line and is counted."""
    with open("/dev/full", "w") as full:
        logs.configure(stream=full)
        for _ in range(3):
            logs.get("manager").info("manager.started")
            assert logs.flush(LIMIT)
        assert logs.dropped() == 3


def test_a_closed_stream_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """F70: `workerpool start 2>&-` runs."""
    monkeypatch.setattr("sys.stderr", None)
    logs.configure()
    logs.get("manager").info("manager.started")
    assert logs.flush(LIMIT)
    assert logs.dropped() == 1


def test_a_reader_that_left_is_survived() -> None:
    """F70: a broken pipe is an ordinary failure of the place."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        logs.configure(stream=pipe)
        logs.get("manager").info("manager.started")
        assert logs.flush(LIMIT)
    assert logs.dropped() == 1


def test_a_descriptor_that_became_something_else_is_not_written_to(tmp_path: Path) -> None:
    """F50: a handler that closes all descriptors does not make us write log lines into its files."""
    logs.configure(file=tmp_path / "log")
    (ours,) = [int(fd) for fd in os.listdir("/proc/self/fd") if _is(int(fd), tmp_path / "log")]
    with open(tmp_path / "precious", "w") as precious:
        os.dup2(precious.fileno(), ours)
        logs.get("worker").info("revision.claimed")
        assert logs.flush(LIMIT)
    assert (tmp_path / "precious").read_text() == ""
    os.close(ours)
    logs.reopen()
    logs.get("worker").info("revision.completed")
    events = [json.loads(line)["event"] for line in text_of(tmp_path / "log").splitlines()]
    assert events == ["log.dropped", "revision.completed"]


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def test_the_file_is_opened_again_after_a_rotation(tmp_path: Path) -> None:
    """USR1 after a rename: the next line is in the new file; a truncated file is simply written on (copytruncate)."""
    path = tmp_path / "logs" / "log"
    logs.configure(file=path)
    logger = logs.get("manager")
    logger.info("manager.started")
    assert logs.flush(LIMIT)
    path.rename(path.with_suffix(".1"))
    logs.reopen()
    logger.info("manager.ready")
    assert [json.loads(line)["event"] for line in text_of(path).splitlines()] == ["manager.ready"]
    os.truncate(path, 0)
    logger.info("manager.stopping")
    assert [json.loads(line)["event"] for line in text_of(path).splitlines()] == ["manager.stopping"]


def test_a_file_that_cannot_be_opened_again_keeps_the_old_one(tmp_path: Path) -> None:
    """Better a line in the rotated file than none."""
    path = tmp_path / "logs" / "log"
    logs.configure(file=path)
    (tmp_path / "logs").rename(tmp_path / "away")
    (tmp_path / "logs").write_text("a file where the folder was")
    logs.reopen()
    logs.get("manager").info("manager.ready")
    assert "manager.ready" in text_of(tmp_path / "away" / "log")


def test_a_log_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """At the start a bad path is an error with the path and the reason, not silence."""
    with pytest.raises(logs.BadLogFile) as refused:
        logs.configure(file=tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "directory" in str(refused.value)
