"""The command line as people and scripts use it: real processes, their output and their exit codes."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.calling import LIMIT, ROOT, Run, environment, read, until, workerpool
from workerpool.client import CannotEnqueue, Client, NewRevision, NoSuchRevision, WaitedTooLong

EDITS = ROOT / "examples" / "pages" / "pending-edits.json"


def test_a_queue_without_a_pool_can_be_filled_and_read(run: Run) -> None:
    """Enqueue by hand, then every reading verb, for people and as JSON; explain names the next command."""
    assert run("enqueue", "page", "--payload", '{"n": 1}').stdout == "revision 1 of page is pending\n"
    run("enqueue", "page", "--payload", "-", "--priority", "3", stdin='{"n": 2}')
    assert read(run("enqueue", "page", "--draft", "--json"))["status"] == "draft"
    assert read(run("enqueue", "later", "--run-at", "+1h", "--json"))["status"] == "scheduled"
    counts = read(run("status", "--json"))
    assert counts["revisions"] == {
        "draft": 1, "scheduled": 1, "pending": 2, "processing": 0, "completed": 0, "failed": 0, "cancelled": 0
    }  # fmt: skip
    assert (counts["workers_alive"], counts["daemon_pid"], counts["schema_version"]) == (0, None, "0002")
    assert "pending    2" in run("status").stdout
    shown = read(run("show", "2", "--json"))
    assert (shown["payload"], shown["priority"], shown["log"]) == ({"n": 2}, 3, [])
    assert '"n": 1' in run("show", "1").stdout
    listed = read(run("items", "--json"))
    assert [(item["item_key"], item["depth"], item["head_id"]) for item in listed] == [("page", 2, 1)]
    assert read(run("workers", "--json")) == []
    assert "behind revision 1" in read(run("explain", "2", "--json"))["why"]
    assert "next: workerpool start" in run("explain", "2").stdout
    assert "it is a draft" in run("explain", "3").stdout
    assert "due in 59m" in run("explain", "4").stdout
    assert read(run("logs", "--json")) == []


def test_the_command_that_explain_names_works(run: Run) -> None:
    """What is printed can be typed: a draft is queued by it."""
    run("enqueue", "page", "--draft")
    run(*read(run("explain", "1", "--json"))["next"].split()[1:])
    assert read(run("show", "1", "--json"))["status"] == "pending"


def test_a_dedupe_key_adds_nothing_while_its_revision_is_unfinished(run: Run, connection: psycopg.Connection) -> None:
    """The revision that is there is named; a finished one holds no key."""
    assert read(run("enqueue", "a", "--dedupe-key", "k", "--json"))["inserted"] is True
    again = read(run("enqueue", "a", "--dedupe-key", "k", "--json"))
    assert (again["id"], again["inserted"]) == (1, False)
    assert "nothing added" in run("enqueue", "a", "--dedupe-key", "k").stdout
    connection.execute("UPDATE workerpool.revisions SET status = 'cancelled', completed_at = now() WHERE id = 1")
    assert read(run("enqueue", "a", "--dedupe-key", "k", "--json"))["inserted"] is True


def test_the_seed_systems_edits_are_imported_in_order(run: Run, connection: psycopg.Connection) -> None:
    """20 revisions of 5 items; each page once, as its item's original; a second import leaves the originals alone."""
    done = read(run("import", str(EDITS), "--json"))
    assert (done["revisions"], done["items"], done["originals"]) == (20, 5, 5)
    assert done["ids"] == sorted(done["ids"])
    rows = connection.execute(
        "SELECT payload ? 'html_content', payload ? 'edit_request' FROM workerpool.revisions"
    ).fetchall()
    assert set(rows) == {(False, True)}
    first = connection.execute("SELECT original FROM workerpool.items ORDER BY item_key").fetchall()
    assert all(row[0]["html"].startswith("<!DOCTYPE html>") for row in first)
    assert "imported 20 revisions for 5 items" in run("import", "-", stdin=EDITS.read_text()).stdout
    assert connection.execute("SELECT original FROM workerpool.items ORDER BY item_key").fetchall() == first


def test_an_import_with_one_bad_entry_imports_nothing(run: Run) -> None:
    """Every bad entry is named with its place, field, and what is allowed."""
    text = '{"item_key": "a"}\n{"item_key": "b", "priority": "high"}\n{"n": 1}\n'
    said = run("import", "-", stdin=text, code=2).stderr
    assert "line 2: priority is 'high'; allowed: a whole number" in said
    assert "line 3: it names no item" in said
    assert read(run("items", "--json")) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("stauts",), 2, "Did you mean 'status'?"),
        (("show", "7"), 3, "there is no revision 7"),
        (("explain", "7"), 3, "there is no revision 7"),
        (("logs", "7"), 3, "there is no revision 7"),
        (("show", "x"), 2, "'x' is not a valid revision id"),
        (("enqueue", "a", "--payload", "{"), 2, "Allowed: an object"),
        (("enqueue", "a", "--priority", "40000"), 2, "allowed: a whole number from -32768"),
        (("enqueue", ""), 2, "allowed: a text of 1 to 512"),
        (("import", "nothing.json"), 2, "cannot be read"),
        (("stop",), 4, "no pool runs on"),
        (("reload",), 4, "no pool runs on"),
        (("migrate", "--down-to", "base"), 4, "--yes does it"),
        (("status", "--schema", "elsewhere"), 78, "run `workerpool migrate`"),
        (("status", "--database-url", "postgresql://u:hidden@127.0.0.1:1/x"), 69, "not reachable"),
        (("status", "--database-url", "nonsense"), 78, "allowed: postgresql://"),
    ],
)
def test_an_error_is_one_sentence_with_its_exit_code(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    """What is wrong and what to do, on standard error, in two lines at most; no password."""
    done = run(*words, code=code)
    assert said in done.stderr
    assert done.stderr.startswith("workerpool: ")
    assert len(done.stderr.splitlines()) <= 2
    assert "hidden" not in done.stderr


def test_migrate_goes_up_and_down_and_prints_its_statements(run: Run) -> None:
    """Down to nothing with --yes, up again, and a script that names the schema."""
    assert "empty (was 0002)" in run("migrate", "--down-to", "base", "--yes").stdout
    run("status", code=78)
    assert "at version 0002 (was not there)" in run("migrate").stdout
    assert "as it was" in run("migrate").stdout
    assert 'CREATE TABLE "elsewhere".revisions' in run("migrate", "--sql", "--schema", "elsewhere").stdout


def test_prune_says_before_it_deletes_and_keeps_what_is_current(run: Run, connection: psycopg.Connection) -> None:
    """Without --yes nothing goes; with it the old ones go, but never an item's current revision."""
    for number in (1, 2):
        connection.execute(
            "INSERT INTO workerpool.revisions (item_key, status, revision_number, completed_at, started_at) "
            "VALUES ('a', 'completed', %s, now() - interval '40 days', now() - interval '40 days')",
            [number],
        )
    assert read(run("prune", "--json"))["would_delete"] == 1
    assert "`workerpool prune --yes` deletes them" in run("prune").stdout
    assert "nothing to prune" in run("prune", "--older-than", "50d").stdout
    assert "deleted 1 revision " in run("prune", "--yes").stdout
    assert read(run("show", "2", "--json"))["revision_number"] == 2
    run("show", "1", code=3)


def test_config_and_doctor_say_what_is_set_and_what_is_missing(run: Run) -> None:
    """Values with their sources and no password; a missing module and a missing program are problems with advice."""
    rows = {row["variable"]: row for row in read(run("config", "--json", EDIT_AGENT_WORKERS="5"))}
    assert (rows["WORKERPOOL_WORKERS"]["value"], rows["WORKERPOOL_WORKERS"]["source"]) == ("5", "seed name")
    assert read(run("doctor", "--json"))[0]["subject"] == "Python"
    assert "none, a direct connection" in run("doctor").stdout
    broken = {"WORKERPOOL_HANDLERS": "no_such_module", "WORKERPOOL_COMMAND": "no-such-program -p"}
    found = {each["subject"]: each for each in read(run("doctor", "--json", code=1, **broken))}
    assert found["handlers"]["state"] == found["command default"]["state"] == "problem"
    assert "no_such_module" in found["handlers"]["told"]
    assert found["command default"]["advice"]
    assert "WORKERPOOL_WORKERS is 'many'" in run("doctor", code=1, WORKERPOOL_WORKERS="many").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_completes_verbs(run: Run, shell: str) -> None:
    """The script names the variable by which the program completes, and the program then lists verbs."""
    assert "_WORKERPOOL_COMPLETE" in run("completion", shell).stdout
    place = "st" if shell == "fish" else "1"
    asked = {"_WORKERPOOL_COMPLETE": f"{shell}_complete", "COMP_WORDS": "workerpool st", "COMP_CWORD": place}
    assert "status" in run(**asked).stdout


def test_waiting_says_with_its_exit_code_what_became_of_a_revision(pool: object, run: Run) -> None:
    """0 completed, 1 failed, 75 not yet; log lines and steps are shown on the way; reading verbs see it all."""
    done = run("enqueue", "a", "--handler", "good", "--payload", '{"n": 1}', "--wait").stdout
    assert "said by the handler" in done
    assert "revision 1 completed in" in done
    shown = read(run("enqueue", "a", "--handler", "good", "--wait", "--json"))
    assert (shown["status"], shown["revision_number"], shown["result"]["base"]["got"]) == ("completed", 2, {"n": 1})
    assert "it cannot be done" in run("enqueue", "b", "--handler", "bad", "--wait", code=1).stderr
    assert "explain 4" in run("enqueue", "c", "--handler", "slow", "--wait", "--timeout", "200ms", code=75).stderr
    assert "it has run on" in run("explain", "4").stdout
    assert "(error): it cannot be done" in run("explain", "3").stdout
    assert "said by the handler" in run("logs", "1", "--follow").stdout
    assert any("it cannot be done" in row["message"] for row in read(run("logs", "3", "--json")))
    assert {row["slot"] for row in read(run("workers", "--json"))} == {"W1", "W2"}
    assert read(run("status", "--json"))["daemon_pid"] is not None


def test_stop_waits_until_the_pool_is_gone(pool: subprocess.Popen[bytes], run: Run) -> None:
    """A second start is refused with the pid; reload reaches the pool; stop returns when its process has ended."""
    assert f"with pid {pool.pid}" in run("start", code=78).stderr
    assert f"pid {pool.pid}" in run("reload").stdout
    assert run("stop").stdout == f"stopped pid {pool.pid}\n"
    assert pool.wait(1) == 0


def test_a_stop_that_takes_longer_than_asked_says_so(pool: subprocess.Popen[bytes], run: Run) -> None:
    """A running handler has the grace; who does not wait for that is told 75, and --quick does not wait for it."""
    run("enqueue", "a", "--handler", "slow")
    until(lambda: read(run("show", "1", "--json"))["status"] == "processing")
    assert "still stopping" in run("stop", "--wait", "100ms", code=75).stderr
    assert run("stop", "--quick").stdout == f"stopped pid {pool.pid}\n"
    shown = read(run("show", "1", "--json"))
    assert (shown["status"], shown["attempt"]) == ("pending", 0)


@contextmanager
def demo_daemon_gone(folder: Path) -> Iterator[None]:
    """Check that a demo has left no process behind."""
    yield
    done = subprocess.run(
        workerpool("stop", "--home", str(folder / "workerpool-demo" / "home")),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4


def test_the_demo_works_twice_in_a_row(tmp_path: Path) -> None:
    """Every edit is made on the one before it, the pages are written, and the daemon is gone.

    Settings of the user play no part.
    """
    foreign = environment(
        WORKERPOOL_DATABASE_URL="postgresql://127.0.0.1:1/none", WORKERPOOL_HANDLERS="none", PAGES_STEP_DELAY="0.02"
    )
    for _ in range(2):
        with demo_daemon_gone(tmp_path):
            done = subprocess.run(
                workerpool("demo"), env=foreign, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT
            )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "All 20 edits are done, and each revision built on the one before it." in done.stdout
    pages = tmp_path / "workerpool-demo" / "pages"
    assert {page.stem for page in pages.iterdir()} == {"bakery", "index", "snake", "stargazers", "timer", "todo"}
    assert "New game" in (pages / "snake.html").read_text()


def test_the_demo_of_agents_needs_no_key(tmp_path: Path) -> None:
    """Three agents are at work at once, with steps, words and results; and the daemon is gone."""
    clean = {name: value for name, value in environment().items() if not name.endswith("_API_KEY")}
    with demo_daemon_gone(tmp_path):
        done = subprocess.run(
            workerpool("demo", "--agents"), env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT
        )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    agents = ("Copywriter", "Translator", "Reviewer")
    executes = [min(i for i, line in enumerate(lines) if agent in line and "Execute" in line) for agent in agents]
    ends = [min(i for i, line in enumerate(lines) if agent in line and "Step 5 of 5" in line) for agent in agents]
    assert max(executes) < min(ends), "all three execute before one has ended"
    for told in ("Nous sommes fermés le lundi.", "Come in: the ovens", "tokens in 1 request", "All 4 tasks are done."):
        assert told in done.stdout


def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C stops the daemon and says so."""
    log = tmp_path / "workerpool-demo" / "daemon.log"
    with demo_daemon_gone(tmp_path):
        process = subprocess.Popen(
            workerpool("demo"), env=environment(), cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        until(lambda: log.exists() and "manager.ready" in log.read_text())
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 130
    assert "the daemon was stopped" in said


def test_a_demo_does_not_touch_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    """A folder with something else in it is refused, and stays as it is."""
    (tmp_path / "letter.txt").write_text("dear")
    done = subprocess.run(
        workerpool("demo", "--home", str(tmp_path)), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 4
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_commands_bring_the_embedded_database_up_for_themselves(tmp_path: Path) -> None:
    """With no database set and no daemon running, a first enqueue makes and migrates the database, and a later command
    finds it.
    """
    settings = environment(WORKERPOOL_HOME=str(tmp_path / "home"))
    for words in (("enqueue", "a"), ("psql", "-Atc", "SELECT count(*) FROM revisions"), ("status", "--json")):
        done = subprocess.run(workerpool(*words), env=settings, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr
        if words[0] == "psql":
            assert done.stdout == "1\n"
    assert json.loads(done.stdout)["revisions"]["pending"] == 1


def test_a_client_enqueues_in_the_callers_transaction(database: str, connection: psycopg.Connection) -> None:
    """What the caller rolls back was never enqueued; what it commits was, in order, with keys respected."""
    count = "SELECT count(*) FROM workerpool.revisions"
    with Client(database, "workerpool") as client, psycopg.connect(database) as caller:
        client.enqueue("a", {"n": 1}, connection=caller)
        caller.rollback()
        assert connection.execute(count).fetchone() == (0,)
        assert client.enqueue("a", {"n": 1}, dedupe_key="k", connection=caller).inserted
        caller.commit()
        assert connection.execute(count).fetchone() == (1,)
        many = client.enqueue_many(
            [NewRevision("a", dedupe_key="k"), NewRevision("b"), NewRevision("b"), NewRevision("b", dedupe_key="x")]
        )
        assert [each.inserted for each in many] == [False, True, True, True]
        assert many[1].id < many[2].id < many[3].id
        with pytest.raises(CannotEnqueue, match="priority is 99999"):
            client.enqueue_many([NewRevision("c"), NewRevision("c", priority=99999)])
        assert connection.execute(count).fetchone() == (4,)


def test_a_client_waits_for_the_end_and_not_for_ever(database: str, connection: psycopg.Connection) -> None:
    """An ended revision is returned, an unfinished one raises after the limit, an unknown one at once."""
    with Client(database, "workerpool") as client:
        done = client.enqueue("a")
        with pytest.raises(WaitedTooLong, match=r"is pending after 0\.2 s"):
            client.wait(done.id, timedelta(milliseconds=200))
        connection.execute("UPDATE workerpool.revisions SET status = 'cancelled', completed_at = now()")
        assert client.wait(done.id).status == "cancelled"
        with pytest.raises(NoSuchRevision):
            client.show(done.id + 1)
