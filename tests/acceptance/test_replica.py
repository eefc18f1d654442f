"""Reading from a standby of PostgreSQL: `target_session_attrs=any` in the URL lets in whoever only looks."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import psycopg
import pytest

from tests.acceptance.calling import LIMIT, environment, until, workerpool
from tests.acceptance.test_web import OPERATOR, ask, free_port, listens
from tests.process.own_server import OwnServer
from workerpool.api.service.access import digest
from workerpool.store import migrate

#: A token of the table, as `workerpool tokens` makes them.
TOKEN = "wp_of_the_table"
READING = (
    "status",
    "items",
    "show 1",
    "explain 1",
    "logs",
    "history page",
    "export page",
    "top --json",
    "agents list",
    "prune",
    "doctor",
)
WRITING = ("enqueue page", "cancel 1", "pause --mode drain --reason test")
PATHS = (
    "queue",
    "revisions",
    "revisions/1",
    "revisions/1/log",
    "revisions/1/explain",
    "items",
    "items/page",
    "items/page/history",
    "workers",
    "system/worker-pause",
    "system/safe-state",
    "system/events",
    "providers",
    "agents",
)


@pytest.fixture(scope="module")
def standby() -> Iterator[OwnServer]:
    """A server in recovery with two revisions: it was stopped in order and started again as a hot standby."""
    server = OwnServer()
    try:
        server.start()
        migrate.upgrade(server.url)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("INSERT INTO workerpool.revisions (item_key) VALUES ('page'), ('page')")
            known = (
                "INSERT INTO workerpool.api_tokens (digest, name, role, created_by) VALUES (%s, 'eve', 'viewer', 'me')"
            )
            connection.execute(known, [digest(TOKEN)])
            (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        server.stop()
        (Path(folder) / "standby.signal").touch()
        os.chmod(Path(folder) / "standby.signal", 0o644)
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        yield server
    finally:
        server.remove()


@pytest.fixture
def settings(standby: OwnServer, tmp_path: Path) -> dict[str, str]:
    """The environment of those who look there."""
    url = f"{standby.url}&target_session_attrs=any"
    home = str(tmp_path / "home")
    return environment(WORKERPOOL_DATABASE_URL=url, WORKERPOOL_HOME=home, WORKERPOOL_API_TOKEN=OPERATOR)


def call(settings: dict[str, str], words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb."""
    command = workerpool(*words.split())
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_what_only_reads_reads_from_a_standby(settings: dict[str, str]) -> None:
    """Every reading verb answers there with 0."""
    done = {words: call(settings, words) for words in READING}
    assert {words: each.returncode for words, each in done.items()} == dict.fromkeys(READING, 0)
    assert "revision 1" in done["explain 1"].stdout


def test_what_writes_is_refused_by_a_standby(settings: dict[str, str]) -> None:
    """Every writing verb ends with 69, as where there is no database, and one sentence that says why and what to do."""
    for words in WRITING:
        done = call(settings, words)
        assert done.returncode == 69, (words, done.stdout + done.stderr)
        assert "the database may not be written to" in done.stderr
        assert "read-only transaction" in done.stderr
        assert "name the server that may be written to in WORKERPOOL_DATABASE_URL" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_standby_is_not_taken_for_the_server_of_a_pool(settings: dict[str, str], standby: OwnServer) -> None:
    """Without the word in the URL a standby is no database to be reached: nobody enqueues there by mistake."""
    done = call(settings | {"WORKERPOOL_DATABASE_URL": standby.url}, "status")
    assert done.returncode == 69
    assert "read-only" in done.stderr


def test_the_dashboard_is_served_from_a_standby(settings: dict[str, str], tmp_path: Path) -> None:
    """`workerpool web` there answers what reads, its stream has no trouble to tell, and what writes is answered 503."""
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        words = workerpool("web", "--http", f"127.0.0.1:{port}")
        server = subprocess.Popen(words, env=settings, stdout=log, stderr=log)
    try:
        until(lambda: listens(port) or server.poll() is not None)
        answered = {path: ask(port, f"/api/{path}", OPERATOR)[0] for path in PATHS}
        assert answered == dict.fromkeys(PATHS, 200)
        stream = Request(f"http://127.0.0.1:{port}/api/events", headers={"Authorization": f"Bearer {OPERATOR}"})
        with urlopen(stream, timeout=LIMIT) as events:
            told = []
            while "event: queue" not in told:
                told.append(events.readline().decode().strip())
        assert "event: trouble" not in told
        for path, token, body in (("revisions", OPERATOR, {"itemKey": "page"}), ("queue", TOKEN, None)):
            # (that a token of the table is used is written with the look)
            status, problem = ask(port, f"/api/{path}", token, body)
            assert (status, problem["status"], problem["type"]) == (503, 503, "urn:workerpool:problem:away")
            assert "read-only" in problem["detail"]
    finally:
        server.terminate()
        assert server.wait(LIMIT) == 0
    text = (tmp_path / "log").read_text()
    assert "database.lost" not in text
    assert "Traceback" not in text
