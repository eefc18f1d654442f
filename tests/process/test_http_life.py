"""The server as a process: what it says of its health; the pool does without it, and it without the database."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.process.asking import OPERATOR, asking, problem_of
from tests.process.conftest import free_port, up
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer

Pool = Callable[..., Daemon]


def test_health_is_about_this_process_and_readiness_about_the_pool(pool: Pool) -> None:
    """Nobody needs a token for either; where no worker was seen for a lease it is not ready, and says so."""
    daemon = up(pool(api=True, api_token=OPERATOR, workers=1))
    with asking(daemon) as nobody:
        until(lambda: nobody.get("/readyz").status_code == 200, what="ready")
        checks = nobody.get("/readyz").json()["checks"]
        assert checks == {"database": "ok", "schema": "ok", "workers": "ok", "pause": "ok"}
        assert nobody.get("/healthz").json()["status"] == "ok"

        def unseen() -> httpx.Response | None:
            daemon.sql("UPDATE workers SET last_heartbeat = now() - interval '1 minute'")
            found = nobody.get("/readyz")
            return found if found.status_code == 503 else None

        answer = until(unseen, what="not ready")
        assert answer is not None
        assert answer.json() == answer.json() | {"status": "down"}
        assert answer.json()["checks"]["workers"] == "none is alive"
        assert nobody.get("/healthz").status_code == 200
        until(lambda: nobody.get("/readyz").status_code == 200, what="ready again")
    assert daemon.stop() == 0


def test_a_database_that_is_away_is_said_and_comes_back(own: OwnServer, tmp_path: Path) -> None:
    """503 with when to try again, for whoever asks; health says that the process lives; nothing needs a restart."""
    daemon = Daemon(own.url, tmp_path, http=f"127.0.0.1:{free_port()}", api_token=OPERATOR, lease="40s")
    try:
        up(daemon)
        with asking(daemon, OPERATOR) as operator:
            assert operator.get("/api/queue").status_code == 200
            own.stop(signal.SIGQUIT)
            for method, path, body in (
                ("GET", "/api/queue", None),
                ("POST", "/api/revisions", {"itemKey": "a"}),
                ("POST", "/api/system/worker-pause", {"action": "pause", "reason": "x"}),
            ):
                answer = operator.request(method, path, json=body)
                assert problem_of(answer, 503)["type"] == "urn:workerpool:problem:away"
                assert int(answer.headers["retry-after"]) >= 1
                assert own.url not in answer.text
            with asking(daemon, "wp_known_by_the_database_alone") as unsure:
                detail = problem_of(unsure.get("/api/queue"), 503)["detail"]
                assert detail == "no connection to the database within 0.5 s", "known to be away by now"
            assert operator.get("/healthz").status_code == 200
            ready = operator.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "down")
            own.start()
            until(lambda: operator.get("/readyz").status_code == 200, what="ready again")
            revision = operator.post("/api/revisions", json={"itemKey": "a", "handler": "work"}).json()["id"]
            assert daemon.ended(revision)["status"] == "completed"
        api = daemon.events("child.started", child="api")
        assert len(api) == 1, "the process is the same"
        assert daemon.events("request.failed") == []
        until(lambda: len(daemon.events("database.regained", role="worker")) == 2, what="every worker connected")
        assert daemon.stop() == 0
    finally:
        daemon.clear()


def test_a_taken_port_is_said_plainly_and_stops_nothing(pool: Pool) -> None:
    """Once, with what would help; the pool works, and the API is there when the port is free."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        daemon = pool(http=f"127.0.0.1:{port}", workers=1).start()
        told = daemon.event("api.unbound")
        assert (told["port"], told["why"]) == (port, "is taken by another program")
        assert "WORKERPOOL_HTTP" in told["hint"]
        assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
        time.sleep(6.0)  # in which it tries again
    daemon.event("api.listening", port=port)
    with asking(daemon) as client:
        assert client.get("/api/queue").json()["revisions"]["completed"] == 1
    assert len(daemon.events("api.unbound")) == 1
    assert daemon.events("child.exited", child="api") == []
    assert daemon.stop() == 0


def test_killing_the_web_process_touches_no_revision(pool: Pool) -> None:
    """What runs completes in its first attempt, under the same worker; another web process answers soon."""
    daemon = up(pool(api=True, workers=1))
    revision = daemon.insert("page", "work", {"seconds": 2})
    worker, api = daemon.begun(revision), daemon.pid_of_child("api")
    os.kill(api, signal.SIGKILL)
    with asking(daemon) as client:

        def back() -> bool:
            try:
                return client.get("/api/queue").status_code == 200
            except httpx.TransportError:
                return False

        until(back, what="the API again")
        row = daemon.ended(revision)
        assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
        assert daemon.pid_of_child("api") != api
        assert daemon.pid_of_child("W1") == worker
    assert daemon.stop() == 0


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:3031"])
def test_a_public_address_without_a_token_is_refused(pool: Pool, address: str) -> None:
    """At the start, before anything runs: exit 78, and what would do."""
    daemon = pool(http=address.replace(":0", f":{free_port()}")).spawn()
    assert daemon.code() == 78
    assert "WORKERPOOL_API_TOKEN" in daemon.text()


@pytest.mark.parametrize("secret", ["hello", "test"])
def test_a_webhook_secret_that_is_none_is_refused(pool: Pool, secret: str) -> None:
    """At the start, exit 78, and not with each request that is signed; the secret is not repeated."""
    daemon = pool(api=True, webhook_secret=secret)
    assert daemon.spawn().code() == 78
    assert "WORKERPOOL_WEBHOOK_SECRET cannot be a secret" in daemon.text()
    assert f"'{secret}'" not in daemon.text()


def test_a_public_address_with_a_token_is_served(pool: Pool) -> None:
    """To whoever has it."""
    daemon = up(pool(http=f"0.0.0.0:{free_port()}", api_token=OPERATOR, workers=1))
    daemon.settings["http"] = str(daemon.settings["http"]).replace("0.0.0.0", "127.0.0.1")
    with asking(daemon) as nobody, asking(daemon, OPERATOR) as operator:
        problem_of(nobody.get("/api/queue"), 401)
        assert operator.get("/api/queue").status_code == 200
    assert daemon.stop() == 0
