"""One pool, and every way in and out of it at once: a signed webhook, REST, agents' tools; a worker in shell, one
in Python,
an agent that claims. Each goes through a pause, and through a lease that is lost.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from standardwebhooks import Webhook

from tests.process.asking import OPERATOR, asking, token_of
from tests.process.conftest import free_port, up
from tests.process.daemon import Daemon, until
from tests.process.remote import Remote
from tests.process.test_mcp import call, over_http, refused

SECRET = "whsec_" + base64.b64encode(b"of the source of this test").decode()
SOURCES = """
[sources.cms]
secrets = ["CMS_SECRET"]
item = "/page"
handler = "words"
"""
pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("curl", "jq")), reason="the worker in shell needs curl and jq"
)


@pytest.fixture
def daemon(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A pool with an API, a source, and no handler for what comes."""
    monkeypatch.setenv("CMS_SECRET", SECRET)
    (tmp_path / "sources.toml").write_text(SOURCES)
    settings = {"api_token": OPERATOR, "sources": tmp_path / "sources.toml", "unhandled_after": "1h", "workers": 1}
    settings |= {"lease": "5s", "heartbeat": "1s", "pause_poll_interval": "500ms", "poll_interval": "500ms"}
    made = Daemon(database, tmp_path, http=f"127.0.0.1:{free_port()}", **settings)
    yield up(made)
    made.clear()


@pytest.fixture
def workers(daemon: Daemon) -> Iterator[list[Remote]]:
    """Workers that speak HTTP; none is left."""
    made: list[Remote] = []
    yield made
    for each in made:
        each.clear()


def by_webhook(daemon: Daemon, page: str, rounds: int) -> int:
    """Enqueue by a signed delivery, twice the same: once."""
    body, now = json.dumps({"page": page, "text": "one two three", "rounds": rounds}), datetime.now(UTC)
    signature = Webhook(SECRET).sign(page, now, body)
    headers = {"webhook-id": page, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    with asking(daemon) as client:
        first, again = (client.post("/webhooks/cms", content=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()["repeated"]) == (202, 202, True)
    assert first.json()["revisions"] == again.json()["revisions"]
    return int(first.json()["revisions"][0])


def by_rest(daemon: Daemon, item: str, steps: int) -> int:
    """Enqueue by REST."""
    new = {"itemKey": item, "handler": "far steps", "payload": {"steps": steps, "seconds": 0.1}}
    with asking(daemon, OPERATOR) as client:
        answer = client.post("/api/revisions", json=new)
    assert answer.status_code == 201
    return int(answer.json()["id"])


def pause(daemon: Daemon, **asked: Any) -> dict[str, Any]:
    """Pause or resume over HTTP."""
    with asking(daemon, OPERATOR) as client:
        answer = client.post("/api/system/worker-pause", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def running(daemon: Daemon, revision: int) -> Any:
    """Whether a revision has an attempt that has said something."""
    row = daemon.row(revision)
    return row["status"] == "processing" and row


def test_every_way_in_and_out_through_a_pause_and_a_lost_lease(daemon: Daemon, workers: list[Remote]) -> None:
    """What each brings in is performed once, in the pause nothing starts, and a lost lease is taken over and fenced."""
    tokens = {name: token_of(daemon, name) for name in ("shell", "python", "agent")}
    pause(daemon, action="pause", mode="drain", reason="before anything")
    shell, python = Remote.shell(daemon, tokens["shell"], "s1"), Remote.python(daemon, tokens["python"], name="p1")
    workers += [shell, python]
    revisions = [by_webhook(daemon, "home", 2), by_rest(daemon, "site", 5)]

    async def agent() -> None:
        async with over_http(daemon, OPERATOR) as operator, over_http(daemon, tokens["agent"]) as worker:
            mine = (await call(operator, "queue.enqueue", item_key="chat", handler="agents only"))["id"]
            asked = {"claim_request_id": str(uuid4()), "handlers": ["agents only"]}
            assert (await call(worker, "queue.claim", **asked))["job"] is None, "paused"
            await anyio.to_thread.run_sync(paused_and_resumed)
            job = (await call(worker, "queue.claim", **asked))["job"]
            assert job["id"] == mine
            claim = {"id": mine, "claim_token": job["claimToken"]}
            assert (await call(worker, "queue.complete", **claim, result={"output": "hello"}))["job"][
                "status"
            ] == "completed"
            # a lease that nobody lengthens is taken over, and the one who had it writes nothing
            lost = (await call(operator, "queue.enqueue", item_key="chat", handler="agents only"))["id"]
            job = (await call(worker, "queue.claim", claim_request_id=str(uuid4()), handlers=["agents only"]))["job"]
            claim = {"id": lost, "claim_token": job["claimToken"]}
            await anyio.to_thread.run_sync(lambda: until(lambda: daemon.row(lost)["status"] == "pending"))
            assert "no longer in force" in await refused(worker, "queue.complete", **claim, result=1)
            asked = {"claim_request_id": str(uuid4()), "handlers": ["agents only"]}
            await anyio.to_thread.run_sync(lambda: until(lambda: daemon.row(lost)["parked"] is None))
            job = (await call(worker, "queue.claim", **asked))["job"]
            assert (job["id"], job["attempt"], job["base"]) == (lost, 2, {"output": "hello"})
            claim = {"id": lost, "claim_token": job["claimToken"]}
            await call(worker, "queue.complete", **claim, result={"output": "again"})

    def paused_and_resumed() -> None:
        shell.says("drain: before anything")
        python.event("pause.changed")
        assert {daemon.row(each)["status"] for each in revisions} == {"pending"}
        assert pause(daemon, action="resume", reason="now")["workersPaused"] is False

    anyio.run(agent)
    for each in revisions:
        row = daemon.ended(each)
        assert (row["status"], row["attempt"]) == ("completed", 1)
    # both workers lose a revision in the middle: killed, so that no lease is lengthened
    revisions = [by_webhook(daemon, "about", 30), by_rest(daemon, "other", 600)]
    for each in revisions:
        until(lambda each=each: running(daemon, each), what=f"revision {each} runs")
    for worker in (shell, python):
        worker.send(signal.SIGKILL)
        worker.code()
    for each in revisions:
        until(lambda each=each: daemon.row(each)["crash_count"] == 1, what=f"revision {each} rescued")
        daemon.sql('UPDATE revisions SET payload = payload || \'{"rounds": 1, "steps": 1}\' WHERE id = %s', each)
    workers += [Remote.shell(daemon, tokens["shell"], "s2"), Remote.python(daemon, tokens["python"], name="p2")]
    for each in revisions:
        row = daemon.ended(each, 60)
        assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 2, 1)
    for worker in workers[2:]:
        assert worker.stop() == 0
    assert daemon.events("request.failed") == []
    assert daemon.stop() == 0
