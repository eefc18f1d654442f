"""Payloads and item keys that hurt other systems: refused where they come in, or performed as they are (F43, F54-F58).

The daemon is real, and so is the command: it says what it was given.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Databases
from tests.process.daemon import Daemon
from workerpool.api import edits, strict_json

#: Says what it was given: the words of its command line, its item, the size of its payload, and its descriptors.
SAYS = """
import json, os, sys
payload = json.load(sys.stdin)
folder = os.path.dirname(os.environ["WORKERPOOL_PAYLOAD_FILE"])
print(json.dumps({
    "argv": sys.argv[1:], "item": os.environ["WORKERPOOL_ITEM_KEY"], "length": len(payload.get("text", "")),
    "folder": os.path.realpath(folder), "entries": sorted(os.listdir(folder)),
}))
"""
DEEP = 100_000
LARGE = 50_000_000


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all cases, whose default handler is the command; no worker of it may crash."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name, template)
    folder = tmp_path_factory.mktemp("payloads")
    (folder / "says.py").write_text(SAYS)
    daemon = Daemon(server.url(name), folder, command=f"{sys.executable} {folder / 'says.py'} --fixed", lease="20s")
    try:
        yield daemon.start()
        assert daemon.events("child.restarted") == []
        assert daemon.events("revision.crashed") == []
        assert daemon.stop() == 0
        for line in daemon.text().splitlines():
            json.loads(line)  # S23: nothing of a row has broken a line of the log
    finally:
        daemon.clear()
        server.drop(name)


ODD = [
    "it's a \"quote\" `and` 'more'",
    "100 %",
    "%s %(item)s %d {0} {item}",
    "two\nlines\r\nand\ttabs",
    '\n{"event": "forged"}',
    "\x1b[2J\x07\x9b31m",
    "\u202eright to left\u2066\u200f",
    "../../../../etc/passwd",
    "/etc/passwd",
    "..",
    "-rf",
    "--help",
    "-o/tmp/x",
    "@file",
    "$(touch pwned); touch pwned | `touch pwned` && touch pwned",
    "'; DROP TABLE workerpool.revisions; --",
    "\u00e9\u0301\u1e9e\U0001f40d\ufdd0",
    " ",
    "\U0001f40d" * 512,
]


def test_an_item_of_any_name_is_performed_by_a_command(daemon: Daemon) -> None:
    """F58, S6, S7, S22: the name arrives as it is, in a variable: no word of a command line, no path, no statement."""
    rows = {item: daemon.insert(item, "default", {"text": item}) for item in ODD}
    for item, revision in rows.items():
        row = daemon.ended(revision)
        assert (row["status"], row["item_key"], row["attempt"]) == ("completed", item, 1), row["error_message"]
        said = row["result"]
        assert (said["item"], said["length"], said["argv"]) == (item, len(item), ["--fixed"])
        assert not Path(said["folder"]).exists(), "the run's own folder is removed"
        assert Path(said["folder"]).name.startswith("workerpool-run-")
    assert not list(daemon.folder.rglob("pwned"))
    assert daemon.sql("SELECT count(*) AS n FROM revisions WHERE item_key = ANY(%s)", ODD)[0]["n"] == len(ODD)


@pytest.mark.parametrize(
    ("item", "payload", "state"),
    [
        ("", "{}", "23514"),
        ("x" * 513, "{}", "23514"),
        ("x" * 10_240, "{}", "23514"),
        ("a", "", "22P02"),
        ("a", "{", "22P02"),
        ("a", "{'a': 1}", "22P02"),
        ("a", "{} {}", "22P02"),
        ("a", '{"a": NaN}', "22P02"),
        ("a", '{"a": Infinity}', "22P02"),
        ("a", '\ufeff{"a": 1}', "22P02"),
        ("a", '{"a": "\\u0000"}', "22P05"),
        ("a", '{"a": "\\ud800"}', "22P02"),
        ("a", "[" * DEEP + "]" * DEEP, "54001"),
        ("a", '{"a":' * DEEP + "1" + "}" * DEEP, "54001"),
    ],
)
def test_what_is_no_row_is_refused_by_the_table(daemon: Daemon, item: str, payload: str, state: str) -> None:
    """F54, F55, F57, F58: by plain SQL PostgreSQL says no, with its own code, and there is no row."""
    before = daemon.sql("SELECT count(*) AS n FROM revisions")
    with pytest.raises(psycopg.Error) as refused:
        daemon.sql("INSERT INTO revisions (item_key, payload) VALUES (%s, %s::jsonb)", item, payload)
    assert refused.value.sqlstate == state
    assert daemon.sql("SELECT count(*) AS n FROM revisions") == before


@pytest.mark.parametrize("column", ["item_key", "handler", "dedupe_key"])
def test_a_nul_is_in_no_column(daemon: Daemon, column: str) -> None:
    """F55: the driver refuses the byte 0 in a text, and the server does, however it came there."""
    places = dict.fromkeys(("item_key", "handler", "dedupe_key"), "'a'")
    statement = f"INSERT INTO revisions ({', '.join(places)}) VALUES "
    with pytest.raises(psycopg.DataError, match="NUL"):
        daemon.sql(f"{statement} ({', '.join((places | {column: '%s'}).values())})", "a\0b")
    hidden = places | {column: "convert_from('\\x610062', 'UTF8')"}
    with pytest.raises(psycopg.Error) as refused:
        daemon.sql(f"{statement} ({', '.join(hidden.values())})")
    assert refused.value.sqlstate == "22021"


@pytest.mark.parametrize("payload", ["7", '"text"', "null", "[]", '{"a": 1, "a": {"b": 2}}', '{"n": 1e400}'])
def test_a_payload_of_another_form_ends_with_a_sentence(daemon: Daemon, payload: str) -> None:
    """F54: what PostgreSQL takes and a handler does not want fails as invalid_payload without being run; else it
    runs. The last of two equal names counts, as PostgreSQL has it.
    """
    (made,) = daemon.sql("INSERT INTO revisions (item_key, payload) VALUES ('form', %s::jsonb) RETURNING id", payload)
    row = daemon.ended(made["id"])
    if payload.startswith("{"):
        assert row["status"] == "completed", row["error_message"]
    else:
        assert (row["status"], row["error_kind"], row["attempt"]) == ("failed", "invalid_payload", 1)
    assert row["crash_count"] == 0


def test_fifty_megabytes_by_sql_are_performed(daemon: Daemon) -> None:
    """F56: the one who may write the table decides how much; the worker hands it on whole, and others go on."""
    (made,) = daemon.sql(
        "INSERT INTO revisions (item_key, payload) VALUES ('large', jsonb_build_object('text', repeat('x', %s)))"
        " RETURNING id",
        LARGE,
    )
    small = daemon.insert("small", "default", {"text": "s"})
    assert daemon.ended(small)["result"]["length"] == 1
    row = daemon.ended(made["id"], 90)
    assert row["status"] == "completed", row["error_message"]
    assert row["result"]["length"] == LARGE


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"item_key":' * DEEP + "1" + "}" * DEEP])
def test_a_deep_nesting_is_a_sentence_at_every_reader(text: str) -> None:
    """F57: bodies of HTTP and imported files; neither the stack nor the process ends."""
    with pytest.raises(strict_json.BadJson, match="deep"):
        strict_json.read(text.encode())
    with pytest.raises(edits.NotReadable, match="recursion"):
        edits.read(text, "array")
    (complaint,) = edits.read(text, "lines")[1]
    assert "recursion" in str(complaint)
