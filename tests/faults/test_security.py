"""Defences of FAULTS section 3 that no other file shows, on a real daemon; docs/security.md has the whole table."""

from __future__ import annotations

import ast
import http.client
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

import workerpool
from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, problem_of, shared, token_of
from tests.process.daemon import Daemon
from workerpool.handlers import work_directory
from workerpool.store import migrate
from workerpool.store.session import Session

PACKAGE = Path(workerpool.__file__).parent
HOOK = "whsec_" + "c" * 43 + "="
COMMANDS = """
[commands.shell]
argv = ["sh", "-c", "cat; ls -l /proc/self/fd >&2"]

[commands.look]
argv = ["{python}", "{folder}/look.py"]
"""
#: Tells all that a process can see of what it was given: its own, and its descriptors.
LOOK = """
import json, os, sys
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))
print(json.dumps({
    "environ": open("/proc/self/environ").read().replace("\\0", " "),
    "cmdline": open("/proc/self/cmdline").read().replace("\\0", " "),
    "fds": fds, "leads": os.getsid(0) == os.getpid(),
}))
"""


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with every secret, and two commands."""
    folder = tmp_path_factory.mktemp("security")
    (folder / "look.py").write_text(LOOK)
    (folder / "commands.toml").write_text(COMMANDS.format(python=sys.executable, folder=folder))
    settings = {"api_token": OPERATOR, "webhook_secret": HOOK, "commands": folder / "commands.toml"}
    with shared(server, template, folder, unhandled_after="10m", lease="10s", **settings) as daemon:
        yield daemon


def test_a_body_is_not_read_before_its_signature_is_right(daemon: Daemon) -> None:
    """S2: what is no JSON and unsigned is 401, as what is JSON and unsigned: nobody unknown learns how it is read."""
    headers = {"webhook-id": "m", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,AAAA"}
    with asking(daemon) as nobody:
        bodies = (b"{", b"{}", b"[" * 5000, b"\xff\x00", b'{"item_key": "a"}', b"")
        answers = [nobody.post("/webhook/trigger-edit-processing", content=each, headers=headers) for each in bodies]
    assert len({json.dumps(problem_of(answer, 401)) for answer in answers}) == 1


def test_a_command_sees_no_secret_and_no_descriptor(daemon: Daemon) -> None:
    """S5, S8: no token, secret or address in its environment or command line; no descriptor but 0, 1, 2."""
    row = daemon.ended(daemon.insert("look", "command", {"command": "look"}))
    assert row["status"] == "completed", row["error_message"]
    seen = row["result"]
    for secret in (OPERATOR, HOOK, HOOK[6:], str(daemon.url), "WORKERPOOL_DATABASE_URL", "WORKERPOOL_API_TOKEN"):
        assert secret not in seen["environ"]
        assert secret not in seen["cmdline"]
    assert "WORKERPOOL_REVISION_ID" in seen["environ"], "it was looked at the right place"
    assert (seen["fds"], seen["leads"]) == ([0, 1, 2], True)


def test_a_payload_is_never_part_of_a_command(daemon: Daemon) -> None:
    """S6, S7: whatever stands in a row reaches a shell command as its input, and changes neither program nor words."""
    evil = ["; touch pwned", "$(touch pwned)", "`touch pwned`", "\ntouch pwned\n", "| touch pwned", "--help"]
    evil += ["-o/etc/x", "@file", "'; touch pwned; '", '"; touch pwned; "', "&& touch pwned", "\\", "*", "~"]
    payload = {"command": "shell", "argv": ["touch", "pwned"], "environment": {"PATH": "/tmp"}, "texts": evil}
    row = daemon.ended(daemon.insert("$(touch pwned)", "command", payload))
    assert row["status"] == "completed", row["error_message"]
    assert row["result"] == payload
    assert not list(daemon.folder.rglob("pwned"))
    for name in ("sh", "/bin/sh", "shell; id", "../shell", ["shell"], None):
        row = daemon.ended(daemon.insert("other", "command", {"command": name}))
        assert (row["status"], row["error_kind"]) == ("failed", "invalid_payload")


def test_a_guessed_claim_token_gets_one_answer(daemon: Daemon) -> None:
    """S18: whatever token is guessed for whatever job of a kind, the status is the same and no token is told."""
    token = token_of(daemon, f"guesser-{uuid.uuid4().hex[:6]}", "worker")
    running, waiting = daemon.insert("held", "work", {"seconds": 1000}), daemon.insert("waits", "nobody has it")
    done = daemon.insert("done", "work")
    daemon.begun(running)
    assert daemon.ended(done)["status"] == "completed"
    held = str(daemon.row(running)["claim_token"])
    near = [held[:-1] + ("0" if held[-1] != "0" else "1"), "0" * 8 + held[8:], held[:-8] + "f" * 8]
    guesses = [*near, *(str(uuid.uuid4()) for _ in range(10))]
    with asking(daemon, token) as guesser:
        for revision in (running, waiting, done):
            for verb in ("heartbeat", "complete", "fail", "release"):
                body = {"complete": {"result": {}}, "fail": {"message": "x"}}.get(verb, {})
                path = f"/api/queue/jobs/{revision}/{verb}"
                answers = [guesser.post(path, json={"claimToken": each, **body}) for each in guesses]
                told = {json.dumps(problem_of(answer, 409)) for answer in answers}
                assert len(told) == 1, told
                assert held not in told.pop()
    assert daemon.row(running)["status"] == "processing"
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = ANY(%s)", [running, waiting])
    assert daemon.ended(running)["status"] == "cancelled"


PATHS = [
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/static/%252e%252e%252fapp.py",
    "/static//etc/passwd",
    "/static/..%5capp.py",
    "/static/%00",
    "/../../../../etc/passwd",
    "/api/revisions/..%2f1/log",
    "/api/revisions/1/../../../etc/passwd",
    "/revisions/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/api/items/..%2f..%2f..%2fetc%2fpasswd",
    "/items/..%2f..%2fetc%2fpasswd",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(daemon: Daemon, path: str) -> None:
    """S22: logs and items are rows, found by id or name; static files are the package's own. No path names a file."""
    host, _, port = str(daemon.settings["http"]).rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {OPERATOR}"})  # (as it is written here)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status in (404, 405, 422), (answer.status, body)
    assert b"root:" not in body
    assert b"import " not in body


def test_a_schema_of_any_name_is_a_name(server: Databases) -> None:
    """S19: a name that would end a quotation is one schema, in migrations, statements and the channel; nothing else
    is dropped. (WORKERPOOL_SCHEMA takes only letters, digits, _ and -: what is tried here is the belt behind that.)
    """
    name, schema = f"workerpool_test_{uuid.uuid4().hex[:12]}", 'a"";drop schema kept cascade;--\'%s{x}'
    server.create(name)
    try:
        url = server.url(name)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA kept")
            migrate.upgrade(url, schema)
            with Session(url, schema, "test") as session:
                session.require()
            table = sql.Identifier(schema, "revisions")
            connection.execute(sql.SQL("INSERT INTO {} (item_key) VALUES ('a')").format(table))
            found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('kept', %s)", [schema])
            assert {row[0] for row in found} == {"kept", schema}
    finally:
        server.drop(name)


def _calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
            yield from (f"{each.arg}={ast.unparse(each.value)}" for each in node.keywords)


def test_nothing_unpacks_objects_or_runs_text() -> None:
    """S24, S6: no pickle, marshal, shelve or yaml, no eval or exec, no shell, in any module of the package.

    (`bench` starts its own load generators with multiprocessing, which pickles between a process and its child.)
    """
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        roots = {name.split(".")[0] for name in imported}
        assert not roots & {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml", "jsonpickle", "joblib"}, path
        assert "multiprocessing" not in roots or PACKAGE / "bench" in path.parents, path
        assert not set(_calls(tree)) & {"eval", "exec", "os.system", "os.popen", "shell=True", "compile"}, path


def test_an_object_s_name_in_a_payload_is_text(daemon: Daemon) -> None:
    """S24: what a YAML or pickle reader would make an object of comes back as the text it is."""
    texts = ["!!python/object/apply:os.system ['touch pwned']", "cos\nsystem\n(S'touch pwned'\ntR.", "gASVAAAA"]
    row = daemon.ended(daemon.insert("objects", "echo", {"texts": texts, "__reduce__": ["os.system", "id"]}))
    assert row["result"]["payload"] == {"texts": texts, "__reduce__": ["os.system", "id"]}
    assert not list(daemon.folder.rglob("pwned"))


def test_a_link_that_was_planted_is_not_followed(database: str, tmp_path: Path) -> None:
    """S25: a symbolic link in the place of the lock is no lock: the start is refused and its target is as it was."""
    daemon = Daemon(database, tmp_path / "pool")
    (tmp_path / "pool" / "home").mkdir(parents=True, mode=0o700)
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "pool" / "home" / "manager.lock").symlink_to(target)
    try:
        assert daemon.spawn().code() == 78
        assert "manager.lock cannot be opened" in daemon.text()
        assert "Traceback" not in daemon.text()
        assert target.read_text() == "precious"
    finally:
        daemon.clear()


def test_the_home_is_its_owners(daemon: Daemon) -> None:
    """S25: the folder is 0700, and the lock in it 0600, whatever the umask."""
    home = daemon.folder / "home"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "manager.lock").stat().st_mode & 0o777 == 0o600


def test_what_others_planted_in_tmp_is_left_alone(tmp_path: Path) -> None:
    """S25: the sweep of abandoned run folders follows no link and removes none."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    shared_tmp = tmp_path / "tmp"
    shared_tmp.mkdir()
    planted, abandoned = shared_tmp / f"{work_directory.PREFIX}link", shared_tmp / f"{work_directory.PREFIX}old"
    planted.symlink_to(precious)
    abandoned.mkdir()
    (abandoned / "inside").symlink_to(precious)
    old = time.time() - 10 * work_directory.ABANDONED_AFTER
    for each in (planted, abandoned, precious):
        os.utime(each, (old, old), follow_symlinks=False)
    assert work_directory.remove_abandoned(str(shared_tmp)) == [str(abandoned)]
    assert planted.is_symlink()
    assert (precious / "file").exists()


@pytest.fixture
def broken(server: Databases, template: str, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of its own, to be broken."""
    with shared(server, template, tmp_path, workers=1, api_token=OPERATOR) as daemon:
        yield daemon


def test_an_unexpected_error_tells_nothing(broken: Daemon) -> None:
    """S27: with a table taken away under the server an answer holds no traceback, statement, path or address."""
    broken.sql("ALTER TABLE api_tokens RENAME TO elsewhere")
    broken.sql("ALTER TABLE control_events RENAME COLUMN actor TO somebody")

    def ask(client: httpx.Client) -> list[httpx.Response]:
        halt = client.post("/api/items/a/halt", json={"reason": "x"})
        return [halt, client.get("/api/queue", headers={"Authorization": "Bearer wp_somebody"})]

    with asking(broken, OPERATOR) as operator:
        answers = ask(operator)
    assert {answer.status_code for answer in answers} <= {422, 500, 503}
    for answer in answers:
        problem_of(answer, answer.status_code)
        for secret in ("Traceback", "File ", "SELECT", "INSERT", "psycopg", str(PACKAGE), str(broken.url), OPERATOR):
            assert secret not in answer.text
    broken.sql("ALTER TABLE elsewhere RENAME TO api_tokens")
    broken.sql("ALTER TABLE control_events RENAME COLUMN somebody TO actor")
