"""What the command line decides by itself: files of edits, reasons, how answers are written, who holds a home."""

import fcntl
import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from workerpool.api import edits, holders
from workerpool.api.reasons import reason
from workerpool.cli import VERBS, cli, demo, demo_view, tables
from workerpool.cli.enqueue import read_payload
from workerpool.cli.errors import Refused
from workerpool.cli.home import Home, hold
from workerpool.cli.options import parse_instant
from workerpool.core import wording


def complaints(text: str, form: str = "auto") -> list[str]:
    """Return what is wrong with a file, as people read it."""
    return [str(each) for each in edits.read(text, form)[1]]


def test_every_verb_of_the_table_is_a_command_with_help() -> None:
    """A verb that is listed can be called, and says what it does."""
    context = click.Context(cli)
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        assert command.name == verb
        assert command.help


def test_seed_edits_become_items_payloads_and_originals() -> None:
    """app_slug is the item; what is no column is payload; the first html_content of an item is its original."""
    text = json.dumps(
        [
            {"app_slug": "snake", "edit_request": "a", "edit_id": 1, "html_content": "<p>1"},
            {"item_key": "snake", "edit_request": "b", "html_content": "<p>2", "priority": 3, "handler": "h"},
        ]
    )
    entries, wrong = edits.read(text, "auto")
    assert wrong == []
    assert [entry.new.item for entry in entries] == ["snake", "snake"]
    assert entries[0].new.payload == {"edit_request": "a", "edit_id": 1, "html_content": "<p>1"}
    assert (entries[1].new.priority, entries[1].new.handler) == (3, "h")
    assert edits.originals(entries) == {"snake": {"html": "<p>1"}}


def test_lines_and_csv_are_judged_by_their_beginning() -> None:
    """An object a line is JSON lines.

    Anything else is CSV, whose numbers are numbers and whose empty cells are not there.
    """
    lines, _ = edits.read('{"item_key": "a", "n": 1}\n\n{"item_key": "b"}\n', "auto")
    assert [(entry.where, entry.new.item) for entry in lines] == [("line 1", "a"), ("line 3", "b")]
    text = '\ufeffitem_key,text,priority,payload\nx,"one, two",7,"{""n"": 1}"\ny,,,\n'
    rows, wrong = edits.read(text, "auto")
    assert wrong == []
    assert (rows[0].new.priority, rows[0].new.payload) == (7, {"n": 1, "text": "one, two"})
    assert rows[1].new.payload == {}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"edit_request": "x"}, "names no item"),
        ({"item_key": "a", "app_slug": "b"}, "allowed: one of them"),
        ({"item_key": ""}, "item_key is ''; allowed: a text of 1 to 512"),
        ({"app_slug": 7}, "app_slug is 7; allowed: a text of 1 to 512"),
        ({"item_key": "a", "priority": "high"}, "priority is 'high'; allowed: a whole number from -32768 to 32767"),
        ({"item_key": "a", "priority": True}, "priority is True"),
        ({"item_key": "a", "max_attempts": 0}, "max_attempts is 0; allowed: a whole number from 1"),
        ({"item_key": "a", "run_at": "tomorrow"}, "run_at is 'tomorrow'; allowed: an instant such as"),
        ({"item_key": "a", "timeout_seconds": -1}, "timeout_seconds is -1; allowed: more than 0"),
        ({"item_key": "a", "payload": [1]}, "payload is [1]; allowed: a JSON object"),
        ({"item_key": "a", "payload": {"n": 1}, "n": 2}, "n stands both inside payload and beside it"),
        ({"item_key": "a", "html_content": 5}, "html_content is 5; allowed: the text of a page"),
        ({"item_key": "a", "text": "nul \0"}, "allowed: texts without NUL"),
        ({"item_key": "a", "text": "half \ud800"}, "allowed: texts without NUL and lone surrogates"),
        (3, "3 is no object"),
    ],
)
def test_a_bad_entry_is_named_with_its_field_and_what_is_allowed(entry: object, told: str) -> None:
    """Where it stands, which field, and what would be right."""
    found = complaints(json.dumps([{"item_key": "good"}, entry]))
    assert len(found) == 1
    assert found[0].startswith("entry 2: ")
    assert told in found[0]


def test_a_backslash_before_u0000_is_an_ordinary_text() -> None:
    """Only NUL itself is refused, not a text that looks like its escape."""
    assert complaints(json.dumps([{"item_key": "a", "text": "\\u0000"}])) == []


@pytest.mark.parametrize("cell", ["+-3", "--", "9" * 5000, "-" + "9" * 5000])
def test_a_cell_that_only_begins_like_a_number_is_a_complaint(cell: str) -> None:
    """Two signs, or more digits than Python reads: the column is named, and what it may hold."""
    (found,) = complaints(f"item_key,priority\na,{cell}\n")
    assert found.startswith("line 2: priority is ")
    assert "allowed: a whole number from -32768 to 32767" in found


@pytest.mark.parametrize("text", ['[{"item_key": 1}', "foo,bar\n1,2\n", "item_key,item_key\na,b\n", "nonsense"])
def test_a_file_of_no_known_form_is_refused(text: str) -> None:
    """Nothing is guessed: the forms that are known are named."""
    with pytest.raises(edits.NotReadable, match="allowed: a JSON array"):
        edits.read(text, "auto")


@pytest.mark.parametrize("text", ['{"item_key": "a"}\n[', "[1e999]", 'item_key,payload\na,"{"\n', "item_key\na,b\n"])
def test_one_bad_line_is_a_complaint(text: str) -> None:
    """A file of a known form is read to its end, and what is wrong is said of its place."""
    assert len(complaints(text)) == 1


def test_a_payload_is_an_object_from_the_line_a_file_or_nowhere(tmp_path: Path) -> None:
    """JSON as given, @FILE, or nothing; everything else says what is allowed."""
    file = tmp_path / "payload.json"
    file.write_text('{"n": 1}')
    assert read_payload(None) == {}
    assert read_payload('{"n": 2}') == {"n": 2}
    assert read_payload(f"@{file}") == {"n": 1}
    for bad in ("{", "[1]", "3", f"@{tmp_path}/nothing"):
        with pytest.raises(click.BadParameter, match=r"Allowed|cannot be read"):
            read_payload(bad)


def test_instants_are_aware() -> None:
    """An instant without a zone is local; + is from now."""
    assert parse_instant("2026-01-31T09:00:00Z") == datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert parse_instant("2026-01-31T09:00").tzinfo is not None
    assert timedelta(minutes=9) < parse_instant("+10m") - datetime.now(UTC) <= timedelta(minutes=10)
    for bad in ("tomorrow", "+soon", "", "+999999999d"):
        with pytest.raises(ValueError, match="is not an instant such as"):
            parse_instant(bad)


FACTS: dict[str, Any] = {
    "id": 7,
    "item_key": "it's",
    "handler": "default",
    "status": "pending",
    "parked": None,
    "attempt": 0,
    "worker_id": None,
    "error_kind": None,
    "error_message": None,
    "run_at": datetime(2026, 1, 1, tzinfo=UTC),
    "cancelling": False,
    "step": None,
    "percent": None,
    "revision_number": None,
    "due_in": -5.0,
    "running_for": None,
    "ended_ago": None,
    "lease_left": None,
    "behind": None,
    "ahead": 0,
    "halted": False,
    "halt_reason": None,
    "pauses": None,
    "held": False,
    "workers": 2,
    "able": 2,
    "idle": 0,
    "free": 2,
    "most": None,
    "at_once": 0,
    "outrun": False,
}
PAUSE = {
    "scope": "all",
    "mode": "drain",
    "reason": "an upgrade",
    "actor": "anna@h",
    "holder": "anna@h",
    "until": None,
    "age": 3.0,
}
RUNNING = {"status": "processing", "worker_id": "h/1-a/W1.2", "running_for": 3.0, "attempt": 1, "lease_left": 30.0}


@pytest.mark.parametrize(
    ("facts", "why", "command"),
    [
        ({"status": "completed", "ended_ago": 3.0, "revision_number": 2}, "as number 2", "workerpool show 7"),
        (
            {"status": "failed", "ended_ago": 3.0, "error_kind": "poison", "error_message": "no"},
            "(poison): no",
            "workerpool retry 7",
        ),
        ({"status": "cancelled", "ended_ago": 3.0}, "no message", "workerpool retry 7"),
        ({"status": "failed", "ended_ago": 3.0, "outrun": True}, "later ones of its item", "retry 7 --append"),
        ({"status": "failed", "ended_ago": 3.0, "halted": True}, "its item is halted", "workerpool retry 7"),
        ({"status": "draft"}, "it is a draft", "workerpool queue 7"),
        ({"status": "scheduled", "due_in": 60.0}, "due in 1m", "workerpool edit 7 --run-at now"),
        ({"cancelling": True}, "about to be", None),
        ({"most": 2, "at_once": 2}, "2 run, and 2 may at once", "workerpool workers"),
        (
            RUNNING | {"step": "Editing", "percent": 40.0},
            "on h/1-a/W1.2 for 3.0s, attempt 1: Editing (40%)",
            "logs 7 -f",
        ),
        (RUNNING | {"lease_left": -4.0}, "its lease ran out 4.0s ago", "workerpool workers"),
        (RUNNING | {"cancelling": True}, "it was asked to end", "logs 7 -f"),
        ({"behind": 5, "ahead": 3}, "behind revision 5 of the same item, 3 of its item", "workerpool explain 5"),
        ({"halted": True, "halt_reason": "broken"}, "its item is halted: broken", "unhalt 'it'\"'\"'s'"),
        (
            {"parked": "due", "due_in": 2.0, "error_kind": "error", "attempt": 1},
            "tried again after error in attempt 1",
            "edit 7 --run-at now",
        ),
        (
            {"pauses": [PAUSE]},
            "paused: everything (drain) by anna@h for 3.0s: an upgrade",
            "workerpool resume --holder anna@h",
        ),
        (
            {"pauses": [PAUSE | {"scope": "handler:it's"}], "parked": "due"},
            'handler "it\'s" (drain)',
            """--holder anna@h --handler 'it'"'"'s'""",
        ),
        ({"pauses": [PAUSE, PAUSE | {"holder": "eve", "actor": "eve@h"}]}, "eve@h (as eve)", "workerpool resume --all"),
        ({"pauses": [PAUSE | {"scope": "host:h"}], "free": 0}, "host 'h'", "resume --holder anna@h --host h"),
        ({"pauses": [PAUSE | {"scope": "host:h"}], "free": 1}, "all 2 that have its handler are busy", "workers"),
        ({"status": "scheduled", "pauses": [PAUSE]}, "it waits for a resume", "workerpool resume"),
        (
            RUNNING | {"held": True, "step": "Editing", "pauses": [PAUSE | {"mode": "quiesce", "fate": "it is gone"}]},
            "held at 'Editing', and goes on by itself",
            "workerpool resume --holder anna@h",
        ),
        ({"workers": 0, "able": 0}, "no worker is alive", "workerpool start"),
        ({"able": 0}, "none of the 2 living workers has the handler 'default'", "workerpool workers"),
        ({"idle": 1}, "about to be claimed", None),
        ({}, "all 2 that have its handler are busy", "workerpool workers"),
    ],
)
def test_every_way_of_waiting_has_its_sentence(facts: dict[str, Any], why: str, command: str | None) -> None:
    """Why it is where it is, and a command that exists."""
    found = reason(FACTS | facts)
    assert why in found.why
    assert (command is None) == (found.command is None)
    assert command is None or command in (found.command or "")


def test_text_from_the_database_cannot_command_the_terminal() -> None:
    """Control characters are shown, not sent."""
    assert tables.safe("a\x1b[31mb\x07\x9b") == "a\\x1b[31mb\\x07\\x9b"
    line = {
        "id": 1,
        "revision_id": 2,
        "attempt": 1,
        "at": datetime.now(UTC),
        "level": "info",
        "message": "\x1b]0;x",
        "data": {"\x1b[31m": 1},
    }
    assert "\x1b]" not in tables.log_line(line, with_revision=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2s"), (12, "12s"), (60, "1m"), (200, "3m 20s"), (7320, "2h 2m"), (90_000, "1d 1h"), (-1, "0.0s")],
)
def test_lengths_of_time_are_readable(seconds: float, text: str) -> None:
    """Two units at most."""
    assert wording.length(seconds) == text


def test_a_piped_table_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    """No colour and no frame where a program reads it; a row is a line, whatever it holds."""
    tables.write_table(("item", "waits for"), [("a", "a free worker"), ("longer", None), ("b\nc", "d\te")])
    assert capsys.readouterr().out == "ITEM    WAITS_FOR\na       a free worker\nlonger\nb\\nc    d\\te\n"


def test_asking_for_the_manager_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    """`status` looks at the lock for an instant; a `start` in that instant waits for it instead of giving up."""
    home = Home(tmp_path / "home")
    with hold(home):
        assert home.manager() == os.getpid()
        with pytest.raises(Refused, match=f"with pid {os.getpid()}"), hold(home):
            pass
    assert home.manager() is None
    asking = os.open(home.lock, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    with pytest.raises(Refused), hold(home):  # who asks for too long is taken for a manager
        pass
    os.close(asking)
    with hold(home):
        pass


def stacked(**changes: Any) -> list[dict[str, Any]]:
    """Return two revisions of a page, the second built on the first but for *changes* of it."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    first = {
        "item_key": "p",
        "request": "a",
        "status": "completed",
        "revision_number": 1,
        "applied": ["a"],
        "error_message": None,
    }
    first |= {"started_at": start, "completed_at": start + timedelta(seconds=1)}
    second = first | {"request": "b", "revision_number": 2, "applied": ["a", "b"]}
    second |= {"started_at": start + timedelta(seconds=1), "completed_at": start + timedelta(seconds=2)}
    return [first, second | changes]


def test_the_demo_notices_what_did_not_stack() -> None:
    """A failed edit, a lost base, and an overlap are each said."""
    early = datetime(2026, 1, 1, tzinfo=UTC)
    assert demo.check(stacked()) == []
    assert "did not build" in demo.check(stacked(applied=["b"]))[0]
    assert "started before" in demo.check(stacked(started_at=early))[0]
    assert "failed: no" in demo.check(stacked(status="failed", applied=None, error_message="no"))[0]


def test_the_view_of_a_page_counts_its_edits() -> None:
    """Ended edits and the part of the running one make the bar; the slot is named by its short name."""
    ended = {"item_key": "p", "status": "completed", "percent": 100.0, "step": "Done", "worker_id": "h/1/W2.1"}
    running = ended | {"status": "processing", "percent": 50.0, "step": "Editing"}
    waiting = ended | {"status": "pending", "percent": None, "step": None}
    page = demo_view.pages([ended, running, waiting, waiting])[0]
    assert (page.done, page.total, page.percent, page.step, page.worker) == (1, 4, 37.5, "Editing", "W2")


def test_a_holder_is_known_by_its_process_and_that_ones_start() -> None:
    """A number that was given again is not the one that left; another host's cannot be judged; a person has none."""
    own = holders.own("safely", f"anna@{socket.gethostname()}")
    assert "is alive" in str(holders.fate(own.name))
    assert "is gone without having taken the pause away" in str(holders.fate(own.name.replace(own.mark, "0" * 12)))
    assert "can be seen only on far" in str(holders.fate(f"backup anna@far pid 7 {own.mark}"))
    assert holders.fate("anna@far") is None
    assert holders.fate("pause_state") is None
