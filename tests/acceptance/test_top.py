"""`top` as people use it: in a terminal of its own, on a real pool, key by key; and as scripts do."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.calling import Run, environment, read, until, workerpool
from tests.acceptance.screen import Terminal
from tests.conftest import Databases
from workerpool.cli.top_picture import DEEP, ITEMS, MOST, RECENT, look
from workerpool.config import load
from workerpool.store.changing import actor
from workerpool.store.connection import statement
from workerpool.store.session import Row, Session

Open = Callable[..., Terminal]
STATE = "SELECT paused, mode, reason FROM workerpool.pause_state"
HANDLERS = """
import time
from workerpool import handler

@handler("talk")
def talk(job):
    for number in range(10_000):
        job.progress(number % 100, f"sentence {number}", total_steps=100)
        job.log.info(f"said {number}")
        job.checkpoint()
        time.sleep(0.05)
"""


@pytest.fixture
def settings(database: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a verb on the database and the home of `run`."""
    return environment(WORKERPOOL_DATABASE_URL=database, WORKERPOOL_HOME=str(tmp_path / "home"))


@pytest.fixture
def open_top(settings: dict[str, str], tmp_path: Path) -> Iterator[Open]:
    """Open `top` in a terminal; whatever is left of it is ended."""
    opened: list[Terminal] = []

    def call(*words: str, columns: int = 100, lines: int = 30, **more: str) -> Terminal:
        terminal = Terminal(workerpool("top", "--interval", "200ms", *words), settings | more, tmp_path, columns, lines)
        opened.append(terminal)
        return terminal

    yield call
    for terminal in opened:
        terminal.clear()


def row(connection: psycopg.Connection, query: str) -> Any:
    """The first row of a query; None: there is none."""
    return connection.execute(query.encode()).fetchone()


def busy(run: Run, connection: psycopg.Connection, how_many: int) -> None:
    """Let revisions of `slow` run."""
    for number in range(how_many):
        run("enqueue", f"slow {number}", "--handler", "slow")
    until(lambda: row(connection, "SELECT count(*) FROM workerpool.running_revisions") == (how_many,))


def columns_of(seen: str, worker: str) -> list[str]:
    """What stands in a worker's row."""
    return next((line.split() for line in seen.splitlines() if line.startswith(f"{worker} ")), [])


@pytest.mark.usefixtures("pool")
def test_workers_items_and_the_pause_are_seen_as_they_change(
    run: Run, connection: psycopg.Connection, open_top: Open
) -> None:
    """Each worker with its process and what it performs, each item with why it waits, whoever paused and why."""
    busy(run, connection, 2)
    run("enqueue", "slow 0", "--handler", "slow")
    run("enqueue", "other", "--handler", "good")
    run("halt", "broken", "--reason", "look at it first")
    top = open_top()
    seen = top.shows("Workers: Running", "2 processing", "2 pending", "1 halted", "look at it first", "q quit")
    workers = connection.execute(b"SELECT slot, worker_pid FROM workerpool.workers WHERE is_active").fetchall()
    assert len(workers) == 2
    for slot, pid in workers:
        assert columns_of(seen, slot)[1:3] == [str(pid), "busy"]
    assert {columns_of(seen, slot)[3] for slot, _ in workers} == {"1", "2"}
    assert re.search(r"^slow 0 +2 +1 runs on W[12] for", seen, re.M)
    assert re.search(r"^other +1 +4 waits for a free worker", seen, re.M)
    assert re.search(r"halt item broken: look at it first", seen)
    run("pause", "--reason", "an upgrade", "--mode", "quiesce")
    top.shows(
        "Workers: Paused (Quiesce)", f"everything (quiesce) by {actor()}", "an upgrade", "2 held at a checkpoint; safe"
    )
    run("resume")
    top.shows("Workers: Running")
    top.hides("everything (quiesce) by")
    run("cancel", "1", "2", "3", "--wait")
    seen = top.shows("0 processing", "0 pending", "1 completed", "3 cancelled")
    assert columns_of(seen, "W1")[2] == "idle"


@pytest.mark.usefixtures("pool")
def test_a_pause_is_asked_for_and_taken_away_with_keys(
    connection: psycopg.Connection, run: Run, open_top: Open
) -> None:
    """The mode and a reason are asked; nothing is done without one; it is recorded as done by who sits there."""
    top = open_top()
    top.shows("Workers: Running", "W2")
    top.press("p")
    top.shows("d drain", "q quiesce")
    top.press("d", "enter")
    top.shows("a reason is wanted")
    assert row(connection, STATE)[0] is False
    top.press("the disk, qé", "enter")
    top.shows("Workers: Paused (Drain)", "everything (drain) by", ": the disk, qé", "version 1")
    assert row(connection, STATE) == (True, "drain", "the disk, qé")
    top.press("p", "q", "not this", "\x15", "the disk", "enter")
    top.shows("Workers: Paused (Quiesce)")
    assert row(connection, STATE) == (True, "quiesce", "the disk")
    top.press("p", "q", "another", "escape")
    top.hides("why?")
    top.press("r")
    top.shows("Workers: Running", "1 pause taken away; the pool goes on")
    assert row(connection, STATE)[0] is False
    top.press("r")
    top.shows("nothing is paused")
    done = [(e["action"], e["mode"], e["reason"], e["actor"]) for e in read(run("events", "--json"))]
    assert done == [
        ("pause", "drain", "the disk, qé", actor()),
        ("pause", "quiesce", "the disk", actor()),
        ("resume", "quiesce", None, actor()),
    ]


def test_others_pauses_are_named_and_left(connection: psycopg.Connection, open_top: Open) -> None:
    """`r` takes one's own away and says whose the others are, and what takes them away."""
    connection.execute("SELECT workerpool.pause('all', 'drain', 'the disk is full', 'eve@far', 'eve@far', NULL)")
    top = open_top()
    top.shows("Workers: Paused (Drain)", "by eve@far", "the disk is full")
    top.press("r")
    top.shows("there is no pause of yours", "workerpool resume --holder eve@far")
    top.press("p", "d", "mine", "enter")
    top.shows(": mine")
    top.press("r")
    top.shows("1 pause taken away; still paused: everything (drain) by eve@far")
    assert row(connection, "SELECT string_agg(holder, ' ') FROM workerpool.pauses") == ("eve@far",)


@pytest.mark.usefixtures("pool")
def test_what_runs_is_cancelled(run: Run, connection: psycopg.Connection, open_top: Open) -> None:
    """Enter alone means the revision of the selected worker, or item; any other can be named; Esc cancels nothing."""
    busy(run, connection, 2)
    run("enqueue", "idle", "--run-at", "+1h")
    top = open_top()
    seen = top.shows("Workers: Running", "2 processing")
    first, second = columns_of(seen, "W1")[3], columns_of(seen, "W2")[3]
    top.press("c")
    top.shows(f"cancel which revision? [{first}]")
    top.press("escape", "down", "c")
    top.shows(f"cancel which revision? [{second}]")
    top.press("enter")
    top.shows("it was asked to stop")
    until(lambda: row(connection, f"SELECT status FROM workerpool.revisions WHERE id = {second}") == ("cancelled",))
    assert row(connection, f"SELECT status FROM workerpool.revisions WHERE id = {first}") == ("processing",)
    top.press("c", "3", "enter")
    top.shows("revision 3 of idle is cancelled")
    top.press("c", "77", "enter")
    top.shows("there is no revision 77")
    top.press("c", f"{second}", "enter")
    top.shows("has ended: it is cancelled")
    top.press("tab", "c")
    top.shows(f"cancel which revision? [{first}]")
    top.press("enter")
    until(lambda: row(connection, f"SELECT status FROM workerpool.revisions WHERE id = {first}") == ("cancelled",))
    assert ("cancel", actor()) in {(e["action"], e["actor"]) for e in read(run("events", "--json"))}


def test_a_log_is_followed_until_one_leaves(
    run: Run, connection: psycopg.Connection, open_top: Open, pool: Any, tmp_path: Path
) -> None:
    """New lines come by themselves, the newest last; one may scroll back or freeze, and what is read stands still;
    the end is seen.
    """
    (tmp_path / "cli_handlers.py").write_text(HANDLERS)
    pool.send_signal(signal.SIGHUP)
    until(lambda: row(connection, "SELECT 1 FROM workerpool.workers WHERE is_active AND 'talk' = ANY (handlers)"))
    run("enqueue", "page", "--handler", "talk")
    top = open_top()
    top.shows("sentence ")
    top.press("l", "1", "enter")

    def newest(seen: str) -> int:
        return max((int(each) for each in re.findall(r"said (\d+)", seen)), default=-1)

    before = newest(top.shows("revision 1", "processing", "attempt 1 on W", "said ", "Esc back"))
    top.until(lambda seen: newest(seen) > before + 30, "what is said later")
    assert re.search(rf"said {newest(top.see())}\n[^\n]*Esc back", top.see())
    latest = newest(top.see())
    top.press("page up")
    # (the screen is painted from above: the newest line, the lowest, is the last to change)
    top.until(lambda seen: "frozen" in seen and newest(seen) < latest, "an older page, all of it")
    still = newest(top.see())
    written = row(connection, "SELECT count(*) FROM workerpool.execution_log")[0]
    until(lambda: row(connection, "SELECT count(*) FROM workerpool.execution_log")[0] > written + 20)
    assert newest(top.see()) == still
    top.press("end")
    top.until(lambda seen: newest(seen) > still + 20, "the newest again")
    run("cancel", "1", "--wait")
    top.shows("revision 1", "cancelled")
    top.press("escape")
    top.shows("Workers: Running", "1 cancelled")
    top.press("l", "77", "enter")
    top.shows("there is no revision 77")
    top.press("q")
    assert top.exit_code() == 0


@pytest.mark.usefixtures("pool")
def test_a_frozen_screen_stands_still(run: Run, open_top: Open) -> None:
    """Space freezes it, and lets it go on."""
    top = open_top()
    top.shows("0 pending")
    top.press(" ")
    frozen = top.shows("frozen")
    run("enqueue", "later", "--run-at", "+1h")
    time.sleep(0.6)  # (three looks that must change nothing)
    assert top.see() == frozen
    top.press(" ")
    top.shows("1 scheduled")


def test_the_size_of_the_window_may_change(run: Run, open_top: Open) -> None:
    """It is drawn anew at once, whatever COLUMNS and LINES say; too small a window says so."""
    run("enqueue", "an item of some length", "--run-at", "+1h")
    top = open_top(columns=80, lines=24, COLUMNS="70", LINES="20")
    top.shows("Workers: Running", "1 scheduled", "Space freeze")
    top.resize(120, 40)
    top.shows("↑↓ select", "nothing waits")
    assert top.see().splitlines()[-1].startswith("q quit")
    top.resize(60, 14)
    top.shows("Workers: Running", "nothing waits", "q quit")
    top.resize(30, 8)
    top.shows("wants 40")
    top.resize(80, 24)
    top.shows("Workers: Running", "Space freeze")
    top.screen.cut = ""
    top.press("tab")
    top.shows("Tab workers")
    assert top.screen.cut == ""


def test_no_text_of_the_queue_commands_the_terminal(connection: psycopg.Connection, open_top: Open) -> None:
    """Titles, colours, cleared screens and line ends are shown, not sent; in every panel and in a log."""
    bad = "\x1b]0;owned\x07\x1b[2J\r\n\x9b5mend"
    texts = {"bad": bad}
    connection.execute(
        "INSERT INTO workerpool.revisions (item_key, handler) VALUES (%(bad)s::text, %(bad)s::text)", texts
    )
    connection.execute(
        "INSERT INTO workerpool.items (item_key, halted_at, halt_reason) VALUES (%(bad)s::text, now(), %(bad)s::text)",
        texts,
    )
    connection.execute(
        "SELECT workerpool.pause('all', 'drain', %(bad)s::text, %(bad)s::text, %(bad)s::text, NULL)", texts
    )
    connection.execute(
        "INSERT INTO workerpool.workers (id, manager_id, host, slot, generation, worker_pid) "
        "VALUES (%(bad)s::text || '.1', %(bad)s::text, %(bad)s::text, %(bad)s::text, 1, 1)", texts,
    )  # fmt: skip
    connection.execute(
        "INSERT INTO workerpool.execution_log (revision_id, attempt, message, data) "
        "VALUES (1, 1, %(bad)s::text, jsonb_build_object(%(bad)s::text, %(bad)s::text))", texts,
    )  # fmt: skip
    top = open_top(columns=200, lines=40)
    seen = top.shows("Workers: Paused", "1 halted", r"\x1b]0;owned\x07\x1b[2J \x9b5mend")
    assert seen.count(r"\x1b]0") >= 6
    top.press("l", "1", "enter")
    top.shows(r"\x1b]0;owned", "end=")
    top.press("q")
    assert top.exit_code() == 0
    assert not top.screen.unknown


@pytest.fixture
def shut(server: Databases, database: str) -> Iterator[Callable[[bool], None]]:
    """Take the database away from everybody (True), and give it back."""
    name = str(conninfo_to_dict(database)["dbname"])

    def do(is_away: bool) -> None:
        with psycopg.connect(server.admin, autocommit=True) as admin:
            word = sql.SQL("false" if is_away else "true")
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), word))
            if is_away:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    yield do
    do(False)


def test_a_database_that_is_away_is_told_of_and_tried_again(
    run: Run, shut: Callable[[bool], None], open_top: Open
) -> None:
    """What was seen last stays, keys work, what is asked for meanwhile is not done, and it goes on by itself."""
    run("enqueue", "page", "--run-at", "+1h")
    top = open_top()
    top.shows("1 scheduled")
    shut(True)
    top.shows("trying again", "1 scheduled")
    top.press("?")
    top.shows("any key leads back")
    top.press("x", "p", "d", "while it is away", "enter")
    top.shows("nothing was done: the database is not reachable")
    shut(False)
    top.hides("trying again")
    assert read(run("events", "--json")) == []
    run("enqueue", "page", "--run-at", "+1h")
    top.shows("2 scheduled")
    top.press("p", "d", "now", "enter")
    top.shows("Workers: Paused (Drain)")


def test_it_waits_for_a_database_from_the_beginning(
    run: Run, database: str, shut: Callable[[bool], None], open_top: Open
) -> None:
    """As who watches an upgrade would have it; a log is followed across its absence, each line shown once."""
    run("enqueue", "page", "--run-at", "+1h")
    shut(True)
    top = open_top()
    top.shows("trying again", "q quit")
    top.press("l", "1", "enter")
    shut(False)
    top.shows("revision 1", "page", "scheduled", "nothing was logged yet")
    for number in range(3):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO workerpool.execution_log (revision_id, attempt, message) VALUES (1, 1, %s)",
                [f"line {number}"],
            )
        seen = top.shows(*(f"line {each}" for each in range(number + 1)))
        assert seen.count("line ") == number + 1
        shut(True)
        top.shows("trying again")
        shut(False)
        top.hides("trying again")
    top.press("escape")
    top.shows("Workers: Running", "1 scheduled")


def test_a_database_that_hangs_keeps_nobody(run: Run, connection: psycopg.Connection, open_top: Open) -> None:
    """While it does not answer keys do, and one can leave; what is told then is that it is busy."""
    run("enqueue", "page", "--run-at", "+1h")
    top = open_top()
    top.shows("1 scheduled")
    with connection.transaction():
        connection.execute("LOCK TABLE workerpool.pauses IN ACCESS EXCLUSIVE MODE")
        top.shows("trying again: the database is busy")
        top.press("?")
        top.shows("any key leads back")
        top.press("q")
        began = time.monotonic()
        assert top.exit_code() == 0
    assert time.monotonic() - began < 5
    assert top.is_as_before()


ENDS = {"q": 0, "\x03": 0, "TERM": 143, "HUP": 129, "QUIT": 131, "INT": 0}


@pytest.mark.parametrize("is_away", [False, True])
@pytest.mark.parametrize("how", ENDS)
def test_the_terminal_is_left_as_it_was(how: str, is_away: bool, shut: Callable[[bool], None], open_top: Open) -> None:
    """Its mode, its screen and its cursor, however it ends, also where the database is away; within a moment."""
    top = open_top()
    top.shows("Workers: Running")
    assert not top.is_as_before()
    if is_away:
        shut(True)
        top.shows("trying again")
    if len(how) == 1:
        top.press(how)
    else:
        os.kill(top.pid, signal.Signals[f"SIG{how}"])
    began = time.monotonic()
    assert top.exit_code() == ENDS[how]
    assert time.monotonic() - began < 5
    assert top.is_as_before()
    assert top.see().strip() == ""


def test_what_waiting_does_not_mend_ends_it(connection: psycopg.Connection, open_top: Open) -> None:
    """In one sentence on the screen that was there before, with the exit code of the trouble."""
    top = open_top()
    top.shows("Workers: Running")
    connection.execute("DROP SCHEMA workerpool CASCADE")
    assert top.exit_code() == 78
    assert top.is_as_before()
    assert "workerpool: the schema is not there or not whole" in top.see()
    assert "Traceback" not in top.see()


def test_it_can_be_stopped_and_continued(run: Run, open_top: Open) -> None:
    """Ctrl-Z gives the terminal back; a continued `top` takes it again and shows what is there by then."""
    top = open_top()
    top.shows("Workers: Running")
    top.press("\x1a")
    until(lambda: (top.see(), top.ended(), top.is_stopped)[2])
    assert top.is_as_before()
    run("enqueue", "page", "--run-at", "+1h")
    os.kill(top.pid, signal.SIGCONT)
    top.shows("1 scheduled")
    assert not top.is_as_before()
    top.press("q")
    assert top.exit_code() == 0


def test_a_script_gets_one_picture(run: Run, connection: psycopg.Connection, open_top: Open) -> None:
    """As text where nobody reads on a terminal, and with --once on one; as JSON with --json."""
    run("enqueue", "page")
    run("enqueue", "page")
    run("pause", "--reason", "an upgrade")
    for words in (("top",), ("top", "--once")):
        told = run(*words).stdout
        assert told.startswith("Workers: Paused (Drain)\n")
        for text in (
            "pending  2",
            "an upgrade",
            "no worker is alive",
            "page  2      1",
            f"{actor()} pause the pool (drain)",
        ):
            assert text in told
        assert "\x1b" not in told
    facts = read(run("top", "--json"))
    assert (facts["badge"], facts["paused"], facts["mode"]) == ("Workers: Paused (Drain)", True, "drain")
    assert facts["counts"]["pending"] == 2
    assert [(item["key"], item["depth"], item["head"]) for item in facts["items"]] == [("page", 2, 1)]
    assert facts["pauses"][0]["reason"] == "an upgrade"
    assert facts["counted_to"]["counts"] == 10_000
    assert (facts["workers"], facts["events"][0]["action"]) == ([], "pause")
    top = open_top("--once")
    assert top.exit_code() == 0
    assert "Workers: Paused (Drain)" in top.see()
    assert "between 200ms and 1h" in run("top", "--interval", "1ms", code=2).stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://127.0.0.1:{free.getsockname()[1]}/none"
        assert "not reachable" in run("top", "--once", "--database-url", url, code=69).stderr


class Counting(Session):
    """A session that counts its statements, the rows that they read, and the pages that they touch."""

    statements = rows_read = pages = 0

    def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        """Run the statement, and before it for EXPLAIN, which tells what it does."""
        query = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF, FORMAT JSON) "
        query += statement(name, self.schema).as_bytes(self.connection)
        if name != "in_order":
            for _ in range(2):  # (the first one also fills the catalogue's caches)
                ((plan,),) = self.connection.execute(query, parameters, prepare=False).fetchall()
            top = plan[0]["Plan"]
            self.pages += top["Shared Hit Blocks"] + top["Shared Read Blocks"]
            self.rows_read += read_by(top)
        self.statements += 1
        return super().rows(name, **parameters)


def read_by(node: dict[str, Any]) -> int:
    """The rows that a part of a plan reads from tables, those that it throws away included."""
    own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) if "Scan" in node["Node Type"] else 0
    return round(own * node["Actual Loops"]) + sum(read_by(each) for each in node.get("Plans", ()))


INSERT = "INSERT INTO workerpool.revisions (item_key, status, completed_at, revision_number) SELECT "
FLOODS = {
    "wide": INSERT + "'i' || g, 'pending', NULL, NULL FROM generate_series(1, 100000) g",
    "deep": INSERT + "'hot ' || g %% 3, 'pending', NULL, NULL FROM generate_series(1, 100000) g",
    "past": INSERT + "'done ' || g %% 50, 'completed', now(), g FROM generate_series(1, 100000) g",
}


@pytest.mark.parametrize("statistics", ["stale", "fresh"])
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_costs_a_look_nothing(
    flood: str, statistics: str, database: str, connection: psycopg.Connection
) -> None:
    """With 100,000 revisions a look is as many statements as with none, and reads no more than the rows that it counts
    and shows, about a page for each at the worst; also with statistics from before the flood.
    """
    connection.execute("ALTER TABLE workerpool.revisions SET (autovacuum_enabled = off)")
    connection.execute("VACUUM ANALYZE workerpool.revisions")
    with Counting(database, "workerpool", "test") as session:
        look(session, load({}).lease)
        empty = session.statements
        connection.execute(FLOODS[flood].replace("%%", "%").encode())
        if statistics == "fresh":
            connection.execute("VACUUM ANALYZE workerpool.revisions")
        session.statements = session.rows_read = session.pages = 0
        picture = look(session, load({}).lease)
    print(flood, statistics, session.statements, session.rows_read, session.pages)
    assert session.statements == empty <= 10
    assert session.rows_read <= MOST + RECENT + ITEMS * (DEEP + 20)
    assert session.pages <= MOST
    assert len(picture.items) == {"wide": ITEMS, "deep": 3, "past": 0}[flood]


def test_a_flood_is_shown_with_its_bound(connection: psycopg.Connection, open_top: Open) -> None:
    """10,000+ means more than is counted; of an item too."""
    connection.execute(FLOODS["deep"].replace("%%", "%").encode())
    top = open_top(columns=80, lines=24)
    assert re.search(r"^hot 1 +200\+ ", top.shows("10,000+ pending", "hot 1"), re.M)
    assert top.see().count("hot ") == 3
