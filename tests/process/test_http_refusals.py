"""Who is let in, and what is refused, over a real server: roles, sites, names, sizes, rates; each as a problem."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, problem_of, shared, token_of, url_of
from tests.process.daemon import Daemon

#: Bytes of a body: of somebody known, and of somebody unknown.
KNOWN, UNKNOWN = 16 << 20, 64 << 10
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a token."""
    settings = {"api_token": OPERATOR, "workers": 1, "unhandled_after": "10m", "http_hosts": "pool.example"}
    with shared(server, template, tmp_path_factory.mktemp("http"), **settings) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def open_daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon without one, for this machine only."""
    with shared(server, template, tmp_path_factory.mktemp("open"), workers=1, unhandled_after="10m") as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[httpx.Client]:
    """Somebody who may everything."""
    with asking(daemon, OPERATOR) as client:
        yield client


def test_without_a_token_nothing_but_health_is_told(daemon: Daemon) -> None:
    """401 that says how to ask, for every path that there is and every one that there is not."""
    with asking(daemon) as nobody:
        for path in ("/healthz", "/readyz", "/health"):
            assert nobody.get(path).status_code == 200
        paths = nobody.get("/openapi.json").json()["paths"]
        for path, operations in paths.items():
            for method in operations:
                where = path.replace("{id}", "1").replace("{key}", "a").replace("{source}", "none")
                if where in ("/healthz", "/readyz", "/health") or where.startswith("/webhooks/"):
                    continue
                answer = nobody.request(method, where, json={})
                assert "token" in problem_of(answer, 401)["detail"], path
                assert answer.headers["www-authenticate"] == "Bearer"
    with asking(daemon, "wp_not_a_token") as wrong:
        problem = problem_of(wrong.get("/api/queue"), 401)
        assert "wp_not_a_token" not in str(problem)
        assert OPERATOR not in str(problem)


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("viewer", {"read"}),
        ("operator", {"read", "act", "claim", "trigger"}),
        ("worker", {"claim"}),
        ("source", {"trigger"}),
    ],
)
def test_a_role_may_what_it_is_for(daemon: Daemon, role: Any, allowed: set[str]) -> None:
    """And is told by name what it lacks for the rest."""
    name = f"{role}-{uuid.uuid4().hex[:6]}"
    token = token_of(daemon, name, role, ["trigger-edit-processing"] if role == "source" else None)
    claim = {"claimRequestId": str(uuid.uuid4()), "handlers": ["none"]}
    asked: list[tuple[str, str, str, object]] = [
        ("read", "GET", "/api/revisions", None),
        ("read", "GET", "/api/items", None),
        ("read", "GET", "/api/workers", None),
        ("read", "GET", "/api/system/worker-pause", None),
        ("act", "POST", "/api/revisions", {"itemKey": name, "draft": True}),
        ("act", "POST", f"/api/items/{name}/halt", {"reason": "a test"}),
        ("act", "POST", "/api/system/worker-pause", {"action": "resume"}),
        ("claim", "POST", "/api/queue/jobs/claim", claim),
        ("trigger", "POST", "/webhook/trigger-edit-processing", None),
    ]
    with asking(daemon, token) as client:
        for what, method, path, body in asked:
            answer = client.request(method, path, json=body) if body is not None else client.request(method, path)
            if what in allowed:
                assert answer.status_code < 300, (what, answer.text)
            elif what == "trigger":
                problem_of(answer, 401)  # a token of another kind is no signature
            else:
                assert f"the token {name} is a {role}'s" in problem_of(answer, 403)["detail"]


def test_every_refusal_is_a_problem(operator: httpx.Client) -> None:
    """400, 404, 405, 415, 422: what is wrong, and nothing of what was sent."""
    secret = "the-secret-value"
    for body in (
        b"{",
        b"",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"itemKey": "a\\u0000"}',
        b"[" * 101 + b"]" * 101,
    ):
        answer = operator.post("/api/revisions", content=body, headers=JSON)
        problem_of(answer, 400 if body else 422)
    problem_of(operator.get("/api/nothing"), 404)
    answer = operator.put("/api/revisions", json={})
    problem_of(answer, 405)
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}
    problem_of(operator.post("/api/revisions", content=b"x", headers=JSON | {"Content-Encoding": "gzip"}), 415)
    problem = problem_of(operator.post("/api/revisions", json={"itemKey": "a", "priority": secret}), 422)
    assert problem["errors"]
    assert secret not in str(problem)
    answer = operator.get("/api/queue")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_body_is_bounded_while_it_streams(daemon: Daemon, operator: httpx.Client) -> None:
    """413 by what is declared, and as soon as it is seen where nothing is; the connection need not send the rest."""

    def pieces(size: int) -> Iterator[bytes]:
        for _ in range(size >> 16):
            yield b" " * (1 << 16)

    problem_of(operator.post("/api/revisions", content=b" " * (KNOWN + 1), headers=JSON), 413)
    problem_of(operator.post("/api/revisions", content=pieces(KNOWN + (1 << 20)), headers=JSON), 413)
    problem_of(operator.post("/webhook/trigger-edit-processing", content=pieces(2 << 20), headers=JSON), 413)
    with asking(daemon) as nobody:
        problem_of(nobody.post("/api/revisions", content=b" " * (UNKNOWN + 1), headers=JSON), 413)
    text = "x" * (8 << 20)
    answer = operator.post("/api/revisions", json={"itemKey": "large", "payload": {"text": text}, "draft": True})
    assert operator.get(f"/api/revisions/{answer.json()['id']}").json()["payload"]["text"] == text


def test_a_sender_that_declares_more_is_answered_at_once(daemon: Daemon) -> None:
    """Nobody waits for a body that would be too large; a length that is no number is refused."""
    host, _, port = str(daemon.settings["http"]).rpartition(":")
    for length in ("99999999999", "1e9", "-1"):
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            head = f"POST /api/revisions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {OPERATOR}\r\n"
            raw.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode())
            assert raw.recv(4096).split(b" ", 2)[1] in (b"413", b"400")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (None, 200),
        ("localhost", 200),
        ("localhost:3031", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]:3031", 200),
        ("192.168.1.7", 200),
        ("pool.example", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 403),
        ("pool.example.", 403),
        ("", 403),
        ("a b", 403),
    ],
)
def test_it_answers_to_its_own_names_only(operator: httpx.Client, host: str | None, status: int) -> None:
    """DNS rebinding: a name that is not ours is refused, whoever asks and even for health; an address is let in."""
    headers = {"Host": host} if host is not None else {}
    for path in ("/api/queue", "/healthz"):
        answer = operator.get(path, headers=headers)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert "WORKERPOOL_HTTP_HOSTS" in problem_of(answer, 403)["detail"]


#: Sec-Fetch-Site, Origin (HERE: its own), and who is let in: a cookie, somebody who need not say, a bearer token.
SITES = [
    (None, None, False, True, True),
    (None, "HERE", True, True, True),
    (None, "http://evil.example", False, False, True),
    (None, "null", False, False, True),
    ("same-origin", "HERE", True, True, True),
    ("same-origin", None, True, True, True),
    ("same-site", "http://other.localhost", False, False, True),
    ("cross-site", "http://evil.example", False, False, True),
    ("cross-site", None, False, False, True),
    ("none", None, False, False, True),
]


@pytest.mark.parametrize(("site", "origin", "cookie", "nobody", "bearer"), SITES)
def test_a_page_of_another_site_changes_nothing(
    daemon: Daemon, open_daemon: Daemon, site: str | None, origin: str | None, cookie: bool, nobody: bool, bearer: bool
) -> None:
    """What a browser sends by itself is not enough: where the request comes from decides; reading is never refused."""
    with asking(daemon) as browser, asking(open_daemon) as unknown, asking(daemon, OPERATOR) as program:
        logged_in = browser.post("/login", data={"token": OPERATOR}, headers={"Sec-Fetch-Site": "same-origin"})
        assert (logged_in.status_code, "httponly" in logged_in.headers["set-cookie"].lower()) == (303, True)
        for client, allowed, where in (
            (browser, cookie, daemon),
            (unknown, nobody, open_daemon),
            (program, bearer, daemon),
        ):
            headers = {} if site is None else {"Sec-Fetch-Site": site}
            if origin is not None:
                headers["Origin"] = origin.replace("HERE", url_of(where))
            before = where.sql("SELECT count(*) AS n FROM revisions")[0]["n"]
            answer = client.post("/api/revisions", json={"itemKey": "site", "draft": True}, headers=headers)
            after = where.sql("SELECT count(*) AS n FROM revisions")[0]["n"]
            assert (answer.status_code == 201, after - before) == (allowed, int(allowed)), answer.text
            if not allowed:
                assert problem_of(answer, 403)["type"] == "urn:workerpool:problem:cross-site"
            assert client.get("/api/queue", headers=headers).status_code == 200


def test_a_cookie_ends_with_its_token(daemon: Daemon) -> None:
    """A browser that logged in with a token is out when that is revoked; a forged cookie is nobody's."""
    token = token_of(daemon, f"viewer-{uuid.uuid4().hex[:6]}", "viewer")
    with asking(daemon) as browser:
        assert browser.post("/login", data={"token": token}).status_code == 303
        assert browser.get("/api/queue").status_code == 200
        daemon.sql("UPDATE api_tokens SET revoked_at = now() WHERE name LIKE 'viewer-%%'")
        problem_of(browser.get("/api/queue"), 401)
        (name,) = browser.cookies
        problem_of(httpx.get(f"{url_of(daemon)}/api/queue", cookies={name: "ImFwaSI.forged"}, trust_env=False), 401)


def test_guessing_is_slowed_down(open_daemon: Daemon, daemon: Daemon) -> None:
    """After some wrong tokens an address is asked to wait, for so long as it says, whatever it sends; health is not."""
    with asking(daemon, "wp_guess") as guesser, asking(daemon, OPERATOR) as operator:
        answers = [guesser.get("/api/queue") for _ in range(40)]
        late = next(answer for answer in answers if answer.status_code == 429)
        assert {answer.status_code for answer in answers} == {401, 429}
        problem_of(late, 429)
        assert 1 <= int(late.headers["retry-after"]) <= 3
        assert problem_of(operator.get("/api/queue"), 429), "the right one would tell that it is the right one"
        assert operator.get("/healthz").status_code == 200
    with asking(open_daemon) as other:
        assert other.get("/api/queue").status_code == 200
