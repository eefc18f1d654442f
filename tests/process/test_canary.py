"""S5, S18, S27: secrets are nowhere but where they were given: no log, argument, environment, row, answer has one."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from standardwebhooks import Webhook

from tests.process.conftest import up
from tests.process.daemon import Daemon, until
from workerpool.api.service import access
from workerpool.store.session import Session

Pool = Callable[..., Daemon]
TOKEN = "canary-of-the-api-token"
WEBHOOK, SOURCE = (
    "whsec_" + base64.b64encode(text.ljust(24, b"-")).decode() for text in (b"canary-webhook", b"canary-source")
)
SOURCES = """
[sources.cms]
secrets = ["CANARY_SOURCE"]
item = "/page"
handler = "work"
"""


def ask(daemon: Daemon, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Ask the API; returns the status, and everything that it answered."""
    known = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(f"http://{daemon.settings['http']}{path}", body, known), timeout=20) as answer:
            return answer.status, str(answer.headers) + answer.read().decode()
    except HTTPError as error:
        return error.code, str(error.headers) + error.read().decode()


def signed(secret: str, body: bytes, name: str) -> dict[str, str]:
    """The headers of a signed delivery."""
    now = datetime.now(UTC)
    signature = Webhook(secret).sign(name, now, body.decode())
    return {"webhook-id": name, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def everything_said(daemon: Daemon) -> str:
    """The log, every row, and what the system shows of every process but the manager, who was given the secrets."""
    tables = daemon.sql("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'workerpool'")
    rows = [str(daemon.sql(f"SELECT r::text FROM {row['t']} r")) for row in tables]
    shown = [Path(f"/proc/{daemon.pid}/cmdline").read_text()]
    for pid in daemon.others():
        for name in ("cmdline", "environ"):
            shown.append(Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace"))
    return daemon.text() + "".join(rows) + "".join(shown)


def test_no_secret_is_anywhere_but_where_it_was_given(
    pool: Pool, database: str, monkeypatch: object, tmp_path: Path
) -> None:
    """Good and bad requests by every kind of secret, then a look at everything that anybody could see."""
    monkeypatch.setenv("CANARY_SOURCE", SOURCE)
    (tmp_path / "sources.toml").write_text(SOURCES)
    more = {"sources": tmp_path / "sources.toml", "api_token": TOKEN, "webhook_secret": WEBHOOK}
    daemon = up(pool(api=True, workers=2, **more))
    with Session(database, "workerpool", "test") as session:
        made, _ = access.add(session, "remote", "worker", "test")
    secrets = (TOKEN, WEBHOOK, SOURCE, made)
    seen = daemon.ended(daemon.insert("page", "environment"))["result"]
    assert seen["JOURNAL"] == str(daemon.journal), "the handler tells what it sees"
    edit, delivery = b'{"item_key": "page", "handler": "work"}', b'{"page": "home"}'
    operator = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    worker = operator | {"Authorization": f"Bearer {made}"}
    new = json.dumps({"itemKey": "claimed", "handler": "nobody here"}).encode()
    claim = json.dumps({"claimRequestId": "0d4ff8a5-6c52-4a3f-9f7c-6f0d8b3f2a11", "handlers": ["nobody here"]}).encode()
    answers = [
        ask(daemon, "/webhook/trigger-edit-processing", edit, **signed(WEBHOOK, edit, "m1")),
        ask(daemon, "/webhooks/cms", delivery, **signed(SOURCE, delivery, "m2")),
        ask(daemon, "/api/queue", **operator),
        ask(daemon, "/api/revisions", new, **operator),
        ask(daemon, "/api/queue/jobs/claim", claim, **worker),
    ]
    token = str(json.loads(answers[-1][1].partition("\n\n")[2])["job"]["claimToken"])
    done = json.dumps({"claimToken": token, "result": {"output": "done"}}).encode()
    answers += [
        ask(daemon, "/webhook/trigger-edit-processing", edit, **signed(SOURCE, edit, "m3")),
        ask(daemon, "/webhooks/cms", b"[]", **signed(SOURCE, b"[]", "m4")),
        ask(daemon, "/api/queue", Authorization=f"Bearer {TOKEN}x"),
        ask(daemon, f"/api/queue?token={TOKEN}x"),
        ask(daemon, "/api/revisions", b'{"itemKey": 1}', **operator),
        ask(daemon, "/api/queue/jobs/4/complete", done.replace(b'"done"', b'"done'), **worker),
        ask(daemon, "/api/queue/jobs/4/complete", done, **worker),
        ask(daemon, "/api/queue/jobs/4/complete", done.replace(b"done", b"other"), **worker),
        ask(daemon, "/login", f"token={TOKEN}".encode(), Content_Type="application/x-www-form-urlencoded"),
    ]
    statuses = [status for status, _ in answers]
    assert statuses[:5] == [202, 202, 200, 201, 200]
    assert statuses[5:8] == [401, 422, 401]
    assert statuses[9:13] == [422, 400, 200, 409]
    until(lambda: daemon.sql("SELECT count(*) AS n FROM revisions WHERE status = 'completed'")[0]["n"] >= 3)
    said = everything_said(daemon)
    told = "".join(text for _, text in answers)
    for secret in secrets:
        assert secret not in said
        assert secret not in told.replace(f"token={secret}x", "")
    # A claim token is in the row that it fences, and in the answer to the one who claimed: in no log (S18).
    assert token not in daemon.text()
    assert daemon.stop() == 0
