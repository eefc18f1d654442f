"""The page-edit service without a browser: its limits, who may do what, what is served how, webhooks, and `run.sh`."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.process.conftest import free_port, up
from tests.process.daemon import MARK, Daemon, gone, until
from tests.process.page_service import EXAMPLE, Editor, add_editor, service
from workerpool.link.tether import marked, sweep
from workerpool.rehearsal import ModelServer

Pool = Callable[..., Daemon]
Somebody = Callable[[str, str], httpx.Client]
SECRET = "whsec_" + base64.b64encode(b"the secret of this test, 32 byte").decode()


@pytest.fixture
def somebody() -> Iterator[Somebody]:
    """Make clients that are somebody, and ask as the service's own pages do."""
    with ExitStack() as kept:
        yield lambda address, name: kept.enter_context(
            httpx.Client(base_url=address, cookies={"person": name}, headers={"Origin": address})
        )


def words(answer: httpx.Response) -> str:
    """Return what a page says, without its marks."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


@pytest.fixture
def strict(database: str, tmp_path: Path) -> Iterator[str]:
    """A service with tight limits, on a database whose pool does not run."""
    with service(database, tmp_path, longest_request=40, per_day=2, cool_down=60) as address:
        yield address


def test_what_is_too_much_is_refused_with_a_sentence(
    strict: str, somebody: Somebody, connection: psycopg.Connection
) -> None:
    """422 and 429 on the page itself, with the text that was typed; nothing of it is kept, nothing is enqueued."""
    ada, ben = somebody(strict, "ada"), somebody(strict, "ben")
    assert "At most 40 characters. This page may have 2 edits in 24 hours (2 are left)" in words(
        ada.get("/pages/snake")
    )
    long = ada.post("/pages/snake/edits", data={"request": "make it " + "very " * 10 + "green"})
    assert long.status_code == 422
    assert "The request has 63 characters; at most 40 are allowed. Ask for one edit at a time." in words(long)
    assert "make it very very" in words(long)
    assert ada.post("/pages/snake/edits", data={"request": " "}).status_code == 422
    assert ada.post("/pages/snake/edits", data={"request": "one"}).status_code == 303
    quick = ada.post("/pages/snake/edits", data={"request": "two"})
    assert (quick.status_code, int(quick.headers["Retry-After"]) in range(50, 62)) == (429, True)
    assert "between two requests of one person for one page 60 s must pass" in words(quick)
    assert ada.post("/pages/choir/edits", data={"request": "other"}).status_code == 303, "another page is another page"
    assert ben.post("/pages/snake/edits", data={"request": "two"}).status_code == 303, "and he is somebody else"
    connection.execute("UPDATE page_edits.edits SET created_at = created_at - interval '61 s'")
    full = ada.post("/pages/snake/edits", data={"request": "three"})
    assert (full.status_code, int(full.headers["Retry-After"]) in range(86_000, 86_400)) == (429, True)
    assert "has had 2 edits within 24 hours, which is all that is allowed; the next may come in 24 h" in words(full)
    kept = connection.execute(
        "SELECT e.request FROM page_edits.edits e JOIN workerpool.revisions r ON r.id = e.revision"
    )
    assert [row[0] for row in kept.fetchall()] == ["one", "other", "two"]
    assert connection.execute("SELECT count(*) FROM workerpool.revisions").fetchall() == [(3,)]


def test_who_may_do_what(strict: str, somebody: Somebody, connection: psycopg.Connection) -> None:
    """Its requester or the page's owner cancels an edit, its owner takes a page back; and from the own site only."""
    ada, ben = somebody(strict, "ada"), somebody(strict, "ben")
    ada.post("/pages/snake/edits", data={"request": "one"})
    ben.post("/pages/bakery/edits", data={"request": "two"})
    refused = ben.post("/pages/bakery/revert", data={"number": "0"})
    assert (refused.status_code, "Only the owner of a page" in words(refused)) == (403, True)
    missing = ada.post("/pages/bakery/revert", data={"number": "7"})
    assert (missing.status_code, "has no version 7" in words(missing)) == (404, True)
    assert ada.post("/pages/bakery/revert", data={"number": "0"}).status_code == 303
    first, second, third = (
        row[0] for row in connection.execute("SELECT id FROM page_edits.edits ORDER BY id").fetchall()
    )
    assert ben.post(f"/edits/{third}/cancel").status_code == 403
    for who, edit in ((ben, first), (ada, second), (ada, third)):
        assert who.post(f"/edits/{edit}/cancel").status_code == 303
    states = connection.execute(
        "SELECT status::text FROM workerpool.revisions WHERE item_key LIKE 'pages/%'"
    ).fetchall()
    assert states == [("cancelled",)] * 3
    told = connection.execute("SELECT item_key::text FROM workerpool.revisions WHERE handler = 'notify' ORDER BY id")
    assert told.fetchall() == [("inbox/ada",), ("inbox/ben",), ("inbox/ada",)], "each is told, though none has begun"
    for headers in ({"Origin": "null"}, {"Origin": "http://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = ada.post("/pages/snake/edits", data={"request": "from elsewhere"}, headers=headers)
        assert (answer.status_code, "from another site" in words(answer)) == (403, True)
    assert ada.post("/who", data={"person": "mallory", "back": "/"}).status_code == 422
    assert ada.post("/who", data={"person": "ben", "back": "//elsewhere.example"}).headers["Location"] == "/"
    assert httpx.get(strict, headers={"Host": "elsewhere.example"}).status_code == 400
    assert (
        ada.get("/pages/none").status_code == ada.get("/p/none").status_code == ada.get("/p/snake/7").status_code == 404
    )


def test_what_people_wrote_is_served_in_a_sandbox(strict: str) -> None:
    """Their pages have an origin of their own and load no script; the service's pages run none of their markup."""
    page = httpx.get(f"{strict}/p/snake")
    assert page.text == (EXAMPLE / "site" / "snake.html").read_text()
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "script-src 'unsafe-inline';" in policy
    again = httpx.get(f"{strict}/p/snake", headers={"If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{strict}/p/snake/0").text == page.text
    own = httpx.get(f"{strict}/pages/snake")
    assert "script-src 'self'" in own.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in own.headers["Content-Security-Policy"]
    live = httpx.get(f"{strict}/pages/snake/live")
    assert httpx.get(f"{strict}/pages/snake/live", headers={"If-None-Match": live.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"per_day": "many"}, "PAGE_EDITS_PER_DAY='many': a whole number from 1 to 10000 is allowed"),
        ({"http": "0.0.0.0:8080"}, "PAGE_EDITS_HTTP='0.0.0.0:8080': allowed is an address of this machine"),
        ({"http": "127.0.0.1"}, "such as 127.0.0.1:8080"),
    ],
)
def test_a_service_that_cannot_be_served_does_not_start(settings: dict[str, str], said: str) -> None:
    """A bad limit, and an address that others can reach, are refused at the start."""
    given = {f"PAGE_EDITS_{name.upper()}": value for name, value in settings.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKERPOOL_", "PAGE_EDITS_"))}
    command = [sys.executable, str(EXAMPLE / "page_service.py")]
    ended = subprocess.run(command, env=clean | given, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 78
    assert said in ended.stderr


@pytest.fixture
def whole(pool: Pool, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Daemon, str]]:
    """A pool and a service with a cool-down of a minute, and a model that answers at once."""
    monkeypatch.setenv("PAGE_EDITS_SECRET", SECRET)
    monkeypatch.setenv("PAGE_EDITS_COOL_DOWN", "60")
    with ModelServer(Editor()) as model:
        daemon = up(pool(api=True, handlers=EXAMPLE / "page_edit_handlers.py", sources=EXAMPLE / "sources.toml"))
        with service(database, tmp_path, daemon.mark, cool_down=60) as address:
            add_editor(daemon, model)
            yield daemon, address
        assert daemon.stop() == 0


def test_edits_come_by_webhook_by_form_and_by_sql(
    whole: tuple[Daemon, str], somebody: Somebody, tmp_path: Path
) -> None:
    """Whichever way one comes, it is in the page's history. One that is refused, or fails, leaves the page as it was,
    and who asked is told.
    """
    daemon, address = whole
    _webhooks(daemon, tmp_path)
    ada = somebody(address, "ada")
    assert ada.post("/pages/bakery/edits", data={"request": "hopelessly make it red"}).status_code == 303
    by_sql = daemon.ended(daemon.insert("pages/choir", "page-edit", {"request": "from psql", "person": "nobody"}))
    assert (by_sql["status"], by_sql["result"]["version"]) == ("completed", 1)
    nowhere = daemon.ended(daemon.insert("pages/none", "page-edit", {"request": "x"}))
    assert (nowhere["status"], nowhere["attempt"]) == ("failed", 1)
    assert nowhere["error_message"].startswith("There is no page 'pages/none'")
    # An operator's `workerpool revert` moves the item and not the page; the next edit says so.
    daemon.ended(daemon.insert("pages/choir", "revert", {"to": 0}))
    after = daemon.insert("pages/choir", "page-edit", {"request": "after that"})
    assert "from psql" not in daemon.ended(after)["result"]["output"]
    assert any("changed past the service" in line for line in daemon.lines(after))
    ada_was_told = until(lambda: _notices(daemon, "ada", 1)) or []
    ben_was_told = until(lambda: _notices(daemon, "ben", 2)) or []
    assert "refused twice, the second time because: The script that begins with" in ada_was_told[0]
    assert ben_was_told[0] == 'Mill Lane Bakery, version 1: “add a list item "Plum tart, 3.20"” is done.'
    assert "your request was not done; the page is as it was. That was quick: between two requests" in ben_was_told[1]
    bakery, choir = words(ada.get("/pages/bakery")), words(ada.get("/pages/choir"))
    assert "Ben, by webhook" in bakery
    assert "failed What the agent proposed was refused twice" in bakery
    assert choir.index("after that somebody, by pool") < choir.index("from psql somebody, by pool")
    assert "Plum tart" in ada.get("/p/bakery").text
    versions = daemon.sql("SELECT slug, max(number) AS last FROM page_edits.versions GROUP BY slug ORDER BY slug")
    assert [row["last"] for row in versions] == [1, 2, 0]


def _webhooks(daemon: Daemon, folder: Path) -> None:
    """Send what the README sends, by its own commands: once, again as it was, and another one too early."""
    commands = (EXAMPLE / "README.md").read_text().partition("```sh\n")[2].partition("```")[0]
    script = commands.replace("127.0.0.1:3031", str(daemon.settings["http"]))
    kept = folder / "examples" / "page-edits" / ".workerpool"
    kept.mkdir(parents=True)
    (kept / "page-edits.secret").write_text(SECRET + "\n")
    sent = _run(script + script[script.index("curl ") :], folder)
    assert sent.count("202 Accepted") == 2
    assert sent.count('"repeated":false') == sent.count('"repeated":true') == 1
    assert "202 Accepted" in _run(script, folder)


def _run(script: str, folder: Path) -> str:
    ended = subprocess.run(["sh", "-eu"], input=script, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _notices(daemon: Daemon, person: str, count: int) -> list[str] | None:
    """Return what somebody was told, once it is that much: what was done first."""
    rows = daemon.sql("SELECT text FROM page_edits.notices WHERE person = %s ORDER BY outcome", person)
    return [row["text"] for row in rows] if len(rows) == count else None


def test_one_command_starts_everything_and_ctrl_c_ends_it(tmp_path: Path, somebody: Somebody) -> None:
    """`run.sh` without a key: an edit is made within seconds; after SIGINT nothing of it is left but the data."""
    address, mark = f"127.0.0.1:{free_port()}", uuid.uuid4().hex
    hidden = ("WORKERPOOL_", "PG", "PAGE_EDITS_", "OPENAI", "DEEPSEEK")
    clean = {n: value for n, value in os.environ.items() if n == "WORKERPOOL_VENV" or not n.startswith(hidden)}
    given = {"PAGE_EDITS_HTTP": address, "WORKERPOOL_HTTP": f"127.0.0.1:{free_port()}", MARK: mark}
    environment = clean | given | {"WORKERPOOL_HOME": str(tmp_path / "home")}
    ada = somebody(f"http://{address}", "ada")

    def run() -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            started = subprocess.Popen(
                ["sh", str(EXAMPLE / "run.sh")], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: _is_up(started, address, tmp_path / "log"), 60, "the service")
        return started

    def interrupt(started: subprocess.Popen[bytes]) -> None:
        os.killpg(started.pid, signal.SIGINT)
        assert started.wait(30) == 130
        until(lambda: all(gone(pid) for pid in marked(MARK, mark)), 3, "nothing of it is left")

    try:
        first = run()
        assert ada.post("/pages/choir/edits", data={"request": "make the heading gold"}).status_code == 303
        until(lambda: "color: gold" in ada.get("/p/choir").text, what="it is gold")
        interrupt(first)
        second = run()
        assert "color: gold" in ada.get("/p/choir").text
        interrupt(second)
    finally:
        sweep(MARK, mark)


def _is_up(run: subprocess.Popen[bytes], address: str, log: Path) -> bool:
    assert run.poll() is None, log.read_text()
    try:
        return httpx.get(f"http://{address}/").status_code == 200
    except httpx.TransportError:
        return False
