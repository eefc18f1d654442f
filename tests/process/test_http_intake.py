"""Webhooks over a real server: taken at once, counted once, whatever the workers are busy with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, at_once, problem_of, shared, token_of
from tests.process.daemon import Daemon, until

OLD, NEW, HOOK = ("whsec_" + base64.b64encode(text * 24).decode() for text in (b"o", b"n", b"h"))
GITHUB = "the secret of the repository"
SOURCES = """
[sources.cms]
secrets = ["./new", "./old"]
item = ["=pages", "/data/page"]
payload = {text = "/data/text", kind = "/type"}
handler = "work"

[sources.repository]
form = "github"
secrets = ["./github"]
item = "/repository/full_name"
events = ["push"]
handler = "work"

[sources.sensor]
form = "token"
item = "/sensor"
id = "/reading"
handler = "work"
"""
TRIGGER = "/webhook/trigger-edit-processing"
#: Seconds within which a thousand deliveries are taken, on a machine that has other things to do.
BURST = 60.0


def sources_file(folder: Path) -> Path:
    """Write the file of sources, and the secrets beside it."""
    for name, secret in (("old", OLD), ("new", NEW), ("github", GITHUB)):
        (folder / name).write_text(secret + "\n")
    (folder / "sources.toml").write_text(SOURCES)
    return folder / "sources.toml"


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with sources and a webhook's secret."""
    folder = tmp_path_factory.mktemp("intake")
    settings = {"api_token": OPERATOR, "webhook_secret": HOOK, "sources": sources_file(folder)}
    with shared(server, template, folder, unhandled_after="10m", **settings) as daemon:
        yield daemon


@pytest.fixture
def sender(daemon: Daemon) -> Iterator[httpx.Client]:
    """Somebody without a token."""
    with asking(daemon) as client:
        yield client


def standard(body: bytes, secret: str, name: str = "", at: float | None = None) -> dict[str, str]:
    """The headers of a delivery as Standard Webhooks has it."""
    instant = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    name = name or f"msg_{uuid.uuid4().hex}"
    signature = Webhook(secret).sign(name, instant, body.decode())
    return {"webhook-id": name, "webhook-timestamp": str(int(instant.timestamp())), "webhook-signature": signature}


def github(body: bytes, name: str = "", event: str = "push", secret: str = GITHUB) -> dict[str, str]:
    """The headers of a delivery of GitHub's."""
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    name = name or str(uuid.uuid4())
    return {"X-GitHub-Delivery": name, "X-GitHub-Event": event, "X-Hub-Signature-256": f"sha256={signature}"}


def of_item(daemon: Daemon, item: str) -> list[dict[str, object]]:
    """The revisions of an item, in order."""
    return daemon.sql("SELECT * FROM revisions WHERE item_key = %s ORDER BY id", item)


def test_the_trigger_wakes_or_adds(daemon: Daemon) -> None:
    """An empty body wakes; one edit or a list is added, all or none, in order; the page that comes is the original."""
    with asking(daemon, OPERATOR) as operator:
        answer = operator.post(TRIGGER)
        assert (answer.status_code, answer.json()) == (202, {"accepted": True, "revisions": [], "repeated": False})
        edit = {"app_slug": "snake", "user_message": "make it blue", "html_content": "<p>snake", "handler": "work"}
        (first,) = operator.post(TRIGGER, json=edit).json()["revisions"]
        row = daemon.ended(first)
        assert (row["item_key"], row["payload"]) == ("snake", {"user_message": "make it blue"})
        original = daemon.sql("SELECT original FROM items WHERE item_key = 'snake'")
        assert original == [{"original": {"html": "<p>snake"}}]
        several = [{"item_key": "list", "handler": "work", "n": n} for n in range(5)]
        made = operator.post(TRIGGER, json=several).json()["revisions"]
        assert [each["id"] for each in of_item(daemon, "list")] == made
        for bad in ([*several, {"handler": "work"}], {"item_key": 7}, 7, [7], {"item_key": "list", "priority": "high"}):
            problem = problem_of(operator.post(TRIGGER, json=bad), 422)
            assert problem["errors"]
        problem_of(operator.post(TRIGGER, content=b"{"), 400)
        assert len(of_item(daemon, "list")) == 5


def test_a_signed_trigger_counts_once(daemon: Daemon, sender: httpx.Client) -> None:
    """By the webhook's secret; unsigned, or signed by another, it is nobody's."""
    body = json.dumps({"item_key": "signed", "handler": "work"}).encode()
    headers = standard(body, HOOK)
    answers = at_once(32, lambda _: sender.post(TRIGGER, content=body, headers=headers))
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.json()["repeated"] for answer in answers].count(False) == 1
    assert len(of_item(daemon, "signed")) == 1
    problem_of(sender.post(TRIGGER, content=body), 401)
    problem_of(sender.post(TRIGGER, content=body, headers=standard(body, NEW)), 401)
    assert len(of_item(daemon, "signed")) == 1


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_a_signed_delivery_is_a_revision_once(daemon: Daemon, sender: httpx.Client, secret: str) -> None:
    """Standard Webhooks, with either of two live secrets: thirty-two at once are one, all are told which."""
    page = f"home {secret[-3:]}"
    body = json.dumps({"type": "page.changed", "data": {"page": page, "text": "new"}}).encode()
    headers = standard(body, secret)
    answers = at_once(32, lambda _: sender.post("/webhooks/cms", content=body, headers=headers))
    assert {answer.status_code for answer in answers} == {202}
    assert len({tuple(answer.json()["revisions"]) for answer in answers}) == 1
    (row,) = of_item(daemon, f"pages/{page}")
    assert answers[0].json()["revisions"] == [row["id"]]
    assert row["payload"] == {"text": "new", "kind": "page.changed"}
    assert row["metadata"] == {"source": "cms", "delivery": headers["webhook-id"]}
    assert sender.post("/webhooks/cms", content=body, headers=standard(body, secret)).json()["repeated"] is False
    assert len(of_item(daemon, f"pages/{page}")) == 2, "another delivery of the same is another revision"


def test_the_form_of_github(daemon: Daemon, sender: httpx.Client) -> None:
    """Its signature, its delivery's id, once under 32 repeats; events that nobody asked for are taken, and no more."""
    body = json.dumps({"repository": {"full_name": "octo/cat"}, "ref": "main"}).encode()
    headers = github(body)
    answers = at_once(32, lambda _: sender.post("/webhooks/repository", content=body, headers=headers))
    assert {answer.status_code for answer in answers} == {202}
    (row,) = of_item(daemon, "octo/cat")
    assert row["payload"] == json.loads(body)
    ignored = sender.post("/webhooks/repository", content=body, headers=github(body, event="ping"))
    assert (ignored.status_code, ignored.json()["revisions"]) == (202, [])
    problem_of(sender.post("/webhooks/repository", content=body, headers=github(body, secret="another secret")), 401)
    assert len(of_item(daemon, "octo/cat")) == 1


def test_the_form_with_a_token(daemon: Daemon) -> None:
    """For senders that cannot sign: the source's own token, and a name that stands in the body."""
    with asking(daemon, token_of(daemon, "sensor", "source", ["sensor"])) as sensor:
        for _ in range(3):
            assert sensor.post("/webhooks/sensor", json={"sensor": "s1", "reading": 17}).status_code == 202
        assert len(of_item(daemon, "s1")) == 1
        assert "reading" in problem_of(sensor.post("/webhooks/sensor", json={"sensor": "s1"}), 422)["detail"]
    with asking(daemon, token_of(daemon, "other", "source", ["cms"])) as other:
        problem_of(other.post("/webhooks/sensor", json={"sensor": "s1", "reading": 18}), 401)
    assert len(of_item(daemon, "s1")) == 1


def test_what_is_wrong_with_a_delivery_is_said_without_helping_a_forger(daemon: Daemon, sender: httpx.Client) -> None:
    """401 is the same for every fault of a signature; what is signed and makes no sense is 400 or 422; 404, 413."""
    body = json.dumps({"type": "a", "data": {"page": "wrong", "text": "x"}}).encode()
    good = standard(body, NEW)
    wrong = [
        {},
        good | {"webhook-signature": "v1,AAAA"},
        good | {"webhook-id": "msg_other"},
        standard(body, HOOK),
        standard(body, NEW, at=time.time() - 301),
        standard(body, NEW, at=time.time() + 302),
        standard(body + b" ", NEW),
    ]
    told = {json.dumps(problem_of(sender.post("/webhooks/cms", content=body, headers=each), 401)) for each in wrong}
    assert len(told) == 1
    for body, status in ((b"{", 400), (b"{}", 422), (b'{"type": "a", "data": {"page": [1], "text": ""}}', 422)):
        problem_of(sender.post("/webhooks/cms", content=body, headers=standard(body, NEW)), status)
    problem_of(sender.post("/webhooks/nobody", content=body, headers=standard(body, NEW)), 404)
    large = b'"' + b"x" * (1 << 20) + b'"'
    problem_of(sender.post("/webhooks/cms", content=large, headers=standard(large, NEW)), 413)
    assert of_item(daemon, "pages/wrong") == []


def test_a_thousand_deliveries_are_taken_while_every_worker_is_busy(daemon: Daemon) -> None:
    """All are answered 202, all are there, each once; none has run, since nobody was free."""
    busy = [daemon.insert(f"busy {n}", "work", {"seconds": 1000}) for n in range(2)]
    for each in busy:
        daemon.begun(each)
    bodies = [
        json.dumps({"type": "t", "data": {"page": f"burst {n % 50}", "text": str(n)}}).encode() for n in range(1000)
    ]
    began = time.monotonic()
    with asking(daemon) as client, ThreadPoolExecutor(16) as threads:
        send = lambda body: client.post("/webhooks/cms", content=body, headers=standard(body, NEW)).status_code  # noqa: E731
        statuses = list(threads.map(send, bodies))
    assert time.monotonic() - began < BURST
    assert statuses == [202] * 1000
    where = "FROM revisions WHERE item_key LIKE 'pages/burst %%'"
    assert daemon.sql(f"SELECT count(*) AS n, count(DISTINCT payload) AS d {where} AND status = 'pending'") == [
        {"n": 1000, "d": 1000}
    ]
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE item_key LIKE 'busy %%'")
    until(lambda: not daemon.sql(f"SELECT 1 {where} AND completed_at IS NULL LIMIT 1"), 60, "all performed")
    assert daemon.sql(f"SELECT DISTINCT status, attempt {where}") == [{"status": "completed", "attempt": 1}]
