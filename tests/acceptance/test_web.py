"""`workerpool tokens` and `workerpool web` from outside: who is let in, and what is served without workers."""

import json
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psycopg
import pytest

from tests.acceptance.calling import LIMIT, Run, environment, read, until, workerpool

OPERATOR = "a token of the settings"


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, token: str | None = None, body: object = None) -> tuple[int, Any]:
    """Ask the server; returns the status and the JSON of the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, headers), timeout=LIMIT) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def listens(port: int) -> bool:
    """Tell whether somebody answers there."""
    try:
        return ask(port, "/healthz")[0] == 200
    except (URLError, ConnectionError):
        return False


@pytest.fixture
def settings(database: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a server with a token."""
    about = {"WORKERPOOL_DATABASE_URL": database, "WORKERPOOL_HOME": str(tmp_path / "home")}
    return environment(**about, WORKERPOOL_API_TOKEN=OPERATOR)


def test_a_server_without_workers_serves_and_ends_in_order(run: Run, settings: dict[str, str], tmp_path: Path) -> None:
    """It answers with roles and revocation as they are now, says that no worker is alive, and TERM ends it with 0."""
    port = free_port()
    secret = run("tokens", "add", "eve", "--role", "viewer").stdout.strip()
    assert secret.startswith("wp_")
    words = workerpool("web", "--http", f"127.0.0.1:{port}")
    server = subprocess.Popen(words, env=settings, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: listens(port) or server.poll() is not None)
        assert ask(port, "/readyz")[1]["checks"]["workers"] == "none is alive"
        assert ask(port, "/api/queue")[0] == 401
        assert ask(port, "/api/queue", "wrong")[0] == 401
        assert ask(port, "/api/queue", secret)[0] == 200
        new = {"itemKey": "page", "payload": {"a": 1}}
        status, problem = ask(port, "/api/revisions", secret, new)
        assert (status, "viewer" in problem["detail"]) == (403, True)
        status, answer = ask(port, "/api/revisions", OPERATOR, new)
        assert (status, read(run("show", str(answer["id"]), "--json"))["payload"]) == (201, {"a": 1})
        run("tokens", "revoke", "eve")
        until(lambda: ask(port, "/api/queue", secret)[0] == 401)
        server.send_signal(signal.SIGTERM)
        assert server.wait(LIMIT) == 0
    finally:
        server.kill()
        output = server.communicate()[0].decode()
    assert "Traceback" not in output
    assert secret not in output
    assert OPERATOR not in output


def test_what_cannot_be_served_is_said_plainly(run: Run) -> None:
    """Off, a taken port, and an address for everybody without a token: a sentence each, and exit 78."""
    run("web", "--http", "off", code=78)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = run("web", "--http", f"127.0.0.1:{port}", code=78).stderr
    assert f"127.0.0.1:{port} cannot be had: Address already in use" in told
    assert "WORKERPOOL_API_TOKEN" in run("web", "--http", "0.0.0.0:3031", code=78).stderr


def test_tokens_are_shown_once_and_kept_nowhere(run: Run, database: str) -> None:
    """The list tells who has one, never the token; no column holds it; a name is taken while its token is in force."""
    made = run("tokens", "add", "mac-mini", "--role", "worker", "--handler", "edit", "--handler", "render")
    secret, listed = made.stdout.strip(), run("tokens", "list").stdout
    assert "mac-mini" in listed
    assert "edit, render" in listed
    assert secret not in listed + run("tokens", "list", "--json", "--all").stdout
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT t::text, encode(digest, 'escape') FROM workerpool.api_tokens t").fetchall()
    assert secret not in str(rows)
    assert "there is a token mac-mini already" in run("tokens", "add", "mac-mini", "--role", "viewer", code=4).stderr
    run("tokens", "revoke", "mac-mini")
    assert "no token mac-mini in force" in run("tokens", "revoke", "mac-mini", code=3).stderr
    run("tokens", "add", "mac-mini", "--role", "viewer", "--valid", "1h")
    states = [(row["role"], row["is_valid"]) for row in read(run("tokens", "list", "--all", "--json"))]
    assert states == [("viewer", True), ("worker", False)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("eve", "--role", "king"), "is not one of"),
        (("eve", "--role", "viewer", "--handler", "a"), "--handler is for --role worker"),
        (("eve", "--role", "source"), "--source names the source"),
        (("a b", "--role", "viewer"), "token_name_has_1_to_100_letters_digits_and_dashes"),
    ],
)
def test_a_bad_token_is_refused_with_what_is_allowed(run: Run, words: tuple[str, ...], told: str) -> None:
    """Usage errors exit 2, what the database refuses exits 4; nothing is made."""
    assert told in run("tokens", "add", *words, code=4 if " " in words[0] else 2).stderr
    assert read(run("tokens", "list", "--json")) == []
