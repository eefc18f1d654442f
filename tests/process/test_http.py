"""The REST face over a real daemon: enqueue, look, act, pause; what each verb promises to a program that asks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, at_once, problem_of, shared, token_of
from tests.process.daemon import Daemon, ids, until

PAUSE = "/api/system/worker-pause"


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here; each has items of its own."""
    settings = {"api_token": OPERATOR, "unhandled_after": "10m"}
    with shared(server, template, tmp_path_factory.mktemp("http"), **settings) as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[httpx.Client]:
    """Somebody who may everything; whatever is paused at the end goes on."""
    with asking(daemon, OPERATOR) as client:
        yield client
        client.post(PAUSE, json={"action": "resume", "everybody": True})


@pytest.fixture
def item() -> str:
    """An item of this test's own."""
    return f"item {uuid.uuid4().hex[:8]}"


def added(client: httpx.Client, **new: object) -> int:
    """Enqueue a revision; returns its id."""
    answer = client.post("/api/revisions", json=new)
    assert answer.status_code == 201, answer.text
    assert answer.json()["inserted"]
    return int(answer.json()["id"])


def test_one_revision_or_many_are_added_in_order(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """With all that a row can say; a list is added whole or not at all, and answered in its order."""
    due = datetime.now(UTC) + timedelta(days=1)
    new = {"itemKey": item, "handler": "work", "payload": {"ü": [1, None]}, "priority": 7, "runAt": due.isoformat()}
    new |= {"dedupeKey": "k", "maxAttempts": 2, "timeoutSeconds": 1.5, "metadata": {"trace": "x"}}
    answer = operator.post("/api/revisions", json=new)
    row = daemon.row(answer.json()["id"])
    assert answer.headers["location"] == f"/api/revisions/{row['id']}"
    assert (row["payload"], row["priority"], row["run_at"], row["status"]) == (new["payload"], 7, due, "scheduled")
    assert (row["dedupe_key"], row["max_attempts"], float(row["timeout_seconds"])) == ("k", 2, 1.5)
    assert row["metadata"] == {"trace": "x", "actor": "api", "source": "http"}
    again = operator.post("/api/revisions", json={"item_key": item, "dedupe_key": "k"})
    assert (again.status_code, again.json()) == (200, {"id": row["id"], "inserted": False})
    several = [{"itemKey": item, "handler": "work", "draft": True} for _ in range(150)]
    answer = operator.post("/api/revisions", json=several)
    made = ids(answer.json())
    assert (answer.status_code, made) == (201, sorted(made))
    assert {daemon.row(each)["status"] for each in (made[0], made[-1])} == {"draft"}
    problem = problem_of(operator.post("/api/revisions", json=[*several[:3], {"itemKey": ""}]), 422)
    assert any("itemKey" in each["where"] for each in problem["errors"])
    assert daemon.sql("SELECT count(*) AS n FROM revisions WHERE item_key = %s", item)[0]["n"] == 151
    for bad in ({}, [], {"itemKey": item, "unknown": 1}, {"itemKey": item, "priority": "7"}, "text", None):
        problem_of(operator.post("/api/revisions", json=bad), 422)


def test_an_idempotency_key_counts_once(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """Thirty-two at once add one revision, and all hear of it; another body under the same key is refused."""
    key, new = {"Idempotency-Key": uuid.uuid4().hex}, {"itemKey": item, "handler": "work", "payload": {"a": 1}}
    answers = at_once(32, lambda _: operator.post("/api/revisions", json=new, headers=key))
    assert sorted(answer.status_code for answer in answers) == [200] * 31 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    problem = problem_of(operator.post("/api/revisions", json=new | {"payload": {}}, headers=key), 422)
    assert problem["type"] == "urn:workerpool:problem:key-reused"
    with asking(daemon, token_of(daemon, f"other {item}".replace(" ", "-"), "operator")) as other:
        assert other.post("/api/revisions", json=new, headers=key).status_code == 201, "a key is its sender's"
    several = [new, new]
    first, second = (operator.post("/api/revisions", json=several, headers={"Idempotency-Key": item}) for _ in "ab")
    assert (first.status_code, second.status_code) == (201, 200)
    assert ids(first.json()) == ids(second.json())
    assert daemon.sql("SELECT count(*) AS n FROM revisions WHERE item_key = %s", item)[0]["n"] == 4


def test_pages_and_filters(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """The latest first, each once, whatever is added meanwhile; filters of status, item, handler, kind and message."""
    made = [added(operator, itemKey=f"{item}/{n % 3}", handler="work", draft=True) for n in range(25)]
    seen: list[int] = []
    page = operator.get("/api/revisions", params={"item": f"{item}/*", "limit": 10}).json()
    while True:
        seen += ids(page["revisions"])
        added(operator, itemKey=f"{item}/new", handler="work", draft=True)
        if page["next"] is None:
            break
        page = operator.get("/api/revisions", params={"item": f"{item}/*", "limit": 10, "cursor": page["next"]}).json()
    assert seen == made[::-1]
    failed = added(operator, itemKey=item, handler="raise", payload={"error": "Fail"}, maxAttempts=1)
    daemon.ended(failed)
    for wanted, found in (
        ({"item": f"{item}/1"}, made[1::3][::-1]),
        ({"item": item, "status": "failed"}, [failed]),
        ({"item": item, "status": ["failed", "draft"], "handler": "raise"}, [failed]),
        ({"item": item, "kind": "error", "error": "hope for this"}, [failed]),
        ({"item": item, "kind": "timeout"}, []),
        ({"item": f"{item}/0", "status": "pending"}, []),
        ({"item": f"{item.replace('item', '*')}/2", "limit": 1}, made[2::3][-1:]),
    ):
        assert ids(operator.get("/api/revisions", params=wanted).json()["revisions"]) == found
    line = operator.get("/api/revisions", params={"item": item}).json()["revisions"][0]
    assert (line["errorKind"], line["handler"], line["attempt"]) == ("error", "raise", 1)
    for bad in ({"limit": 0}, {"limit": 501}, {"cursor": "x"}, {"status": "done"}, {"item": ""}, {"item": "a\0"}):
        problem_of(operator.get("/api/revisions", params=bad), 422)


def test_one_revision_is_shown_with_its_progress_log_and_why(
    daemon: Daemon, operator: httpx.Client, item: str, tmp_path: Any
) -> None:
    """Everything of its row; its log by pages; why it waits, and what it waits for."""
    gate = tmp_path / "gate"
    running = added(operator, itemKey=item, handler="steps", payload={"steps": 3, "until": str(gate)})
    waiting = added(operator, itemKey=item, handler="work")
    daemon.begun(running)

    def told() -> dict[str, Any]:
        found: dict[str, Any] = operator.get(f"/api/revisions/{running}/progress").json()
        return found

    until(lambda: told()["currentStep"] == "step 1", what="progress")
    assert told() == told() | {"id": running, "status": "processing", "attempt": 1}
    why = operator.get(f"/api/revisions/{waiting}/explain").json()
    assert (why["id"], why["status"], why["behind"]["id"]) == (waiting, "pending", running)
    assert str(running) in why["why"]
    gate.touch()
    daemon.ended(waiting)
    shown = operator.get(f"/api/revisions/{running}").json()
    assert (shown["status"], shown["result"], shown["revisionNumber"]) == ("completed", {"attempt": 1}, 1)
    assert shown["actualDuration"] > 0
    daemon.sql(
        "INSERT INTO execution_log (revision_id, attempt, level, message) SELECT %s, 1, 'info', n::text "
        "FROM generate_series(1, 250) n",
        waiting,
    )
    first = operator.get(f"/api/revisions/{waiting}/log", params={"after": 0, "limit": 200}).json()
    rest = operator.get(f"/api/revisions/{waiting}/log", params={"after": first["next"], "limit": 200}).json()
    assert [line["message"] for line in first["lines"] + rest["lines"]] == [str(n) for n in range(1, 251)]
    assert operator.get(f"/api/revisions/{waiting}/log", params={"limit": 5}).json()["lines"][-1]["message"] == "250"
    for path in ("", "/progress", "/log", "/explain"):
        problem = problem_of(operator.get(f"/api/revisions/{2**60}{path}"), 404)
        assert problem["type"] == "urn:workerpool:problem:no-such-revision"
        problem_of(operator.get(f"/api/revisions/x{path}"), 422)


def test_verbs_do_what_they_say_or_say_why_not(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """Cancel, retry, retry at the end, queue, edit; 409 in the wrong state, 404 where there is nothing."""

    def act(revision: int, verb: str, status: int = 200, **body: object) -> dict[str, Any]:
        answer = operator.post(f"/api/revisions/{revision}/{verb}", json=body)
        found: dict[str, Any] = answer.json() if status == 200 else problem_of(answer, status)
        assert answer.status_code == status, answer.text
        return found

    draft = added(operator, itemKey=item, handler="work", draft=True)
    edit = operator.patch(f"/api/revisions/{draft}", json={"payload": {"b": 2}, "priority": 3})
    assert (edit.json()["answer"], daemon.row(draft)["payload"], daemon.row(draft)["priority"]) == (
        "edited",
        {"b": 2},
        3,
    )
    assert act(draft, "queue")["answer"] == "queued"
    daemon.ended(draft)
    assert "not a draft" in act(draft, "queue", 409)["detail"]
    problem_of(operator.patch(f"/api/revisions/{draft}", json={"priority": 1}), 409)
    running = added(operator, itemKey=item, handler="work", payload={"seconds": 1000})
    pending = added(operator, itemKey=item, handler="work")
    daemon.begun(running)
    assert act(pending, "cancel", reason="no more")["status"] == "cancelled"
    assert act(running, "cancel")["answer"] == "asked"
    assert daemon.ended(running)["status"] == "cancelled"
    assert "has ended" in act(running, "cancel", 409)["detail"]
    assert act(draft, "retry", 409)["type"] == "urn:workerpool:problem:not-in-this-state"
    copy = act(draft, "retry", append=True)
    assert daemon.ended(copy["newId"])["payload"] == {"b": 2}
    failed = added(operator, itemKey=item, handler="raise", payload={"error": "Fail"})
    daemon.ended(failed)
    assert act(failed, "retry")["answer"] == "retried"
    assert daemon.ended(failed)["status"] == "failed"
    for verb in ("cancel", "retry", "queue"):
        act(2**60, verb, 404)
    assert operator.post(f"/api/revisions/{failed}/retry").status_code == 200, "a body is not needed"
    events = operator.get("/api/system/events", params={"limit": 500}).json()["events"]
    noted = {each["target"]: (each["action"], each["actor"], each["reason"]) for each in events}
    assert noted[str(pending)] == ("cancel", "api", "no more")
    assert noted[str(running)][:2] == ("cancel", "api")


@pytest.mark.parametrize("name", ["plain", "a/b", "100%", "ü ? #", "a/history"])
def test_items_have_a_history_that_can_be_gone_back_in(
    daemon: Daemon, operator: httpx.Client, item: str, name: str
) -> None:
    """Whatever an item's key is: content, numbers with what each changed, revert, halt, unhalt."""
    key = f"{item} {name}"
    path = f"/api/items/{quote(key, safe='')}"
    problem_of(operator.get(path), 404)
    for text in ("one", "two"):
        daemon.ended(added(operator, itemKey=key, handler="echo", payload={"text": text}))
    shown = operator.get(path).json()
    assert (shown["itemKey"], shown["content"]["payload"], shown["revisions"]) == (key, {"text": "two"}, 2)
    history = operator.get(f"{path}/history", params={"diff": True}).json()["history"]
    assert [each["number"] for each in history] == [1, 2]
    assert any("two" in line for line in history[1]["diff"] if line.startswith("+"))
    reverted = operator.post(f"{path}/revert", json={"to": 1})
    assert reverted.status_code == 201
    daemon.ended(reverted.json()["id"])
    assert operator.get(path).json()["content"]["payload"] == {"text": "one"}
    problem_of(operator.post(f"{path}/revert", json={"to": 99}), 404)
    assert operator.post(f"{path}/halt", json={"reason": "a look"}).json()["haltReason"] == "a look"
    assert "a look" in problem_of(operator.post(f"{path}/halt"), 409)["detail"]
    held = added(operator, itemKey=key, handler="work")
    listed = {each["itemKey"]: each for each in operator.get("/api/items", params={"limit": 500}).json()["items"]}
    assert (listed[key]["headId"], listed[key]["haltReason"]) == (held, "a look")
    assert "halted" in listed[key]["why"]
    assert operator.post(f"{path}/unhalt").json()["haltedAt"] is None
    assert daemon.ended(held)["status"] == "completed"
    problem_of(operator.post(f"{path}/unhalt"), 409)


def test_the_queue_and_the_workers_are_shown(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """Counts by status and handler, the oldest that waits; each worker with its process and what it does."""
    added(operator, itemKey=item, handler=f"nobody has {item}")
    queue = operator.get("/api/queue").json()
    mine = next(each for each in queue["handlers"] if each["handler"] == f"nobody has {item}")
    assert (mine["status"], mine["revisions"]) == ("pending", 1)
    assert queue["revisions"]["pending"] >= 1
    assert queue["oldestPending"] <= mine["oldest"]
    running = added(operator, itemKey=f"{item} runs", handler="work", payload={"seconds": 1000})
    daemon.begun(running)
    workers = operator.get("/api/workers").json()["workers"]
    assert {each["pid"] for each in workers} == {daemon.pid_of_child("W1"), daemon.pid_of_child("W2")}

    def busy() -> list[dict[str, Any]]:
        return [each for each in operator.get("/api/workers").json()["workers"] if each["currentRevisionId"] == running]

    assert until(busy)[0]["currentItem"] == f"{item} runs"
    operator.post(f"/api/revisions/{running}/cancel")
    daemon.ended(running)


def test_a_pause_is_asked_for_and_taken_away(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """Its state, who asked, its figures and the latest events; the actor is the token's name, whatever a body says."""
    running = added(operator, itemKey=item, handler="work", payload={"seconds": 1000})
    daemon.begun(running)
    before = operator.get(PAUSE).json()
    assert (before["workersPaused"], before["mode"], before["pauses"]) == (False, None, [])
    state = operator.post(PAUSE, json={"action": "pause", "mode": "quiesce", "reason": "an upgrade"}).json()
    assert (state["workersPaused"], state["mode"], state["reason"]) == (True, "quiesce", "an upgrade")
    assert (state["actor"], state["pauses"][0]["holder"]) == ("api", "api")
    assert state["version"] > before["version"]
    waiting = added(operator, itemKey=item, handler="work")

    def held() -> bool:
        return bool(operator.get("/api/system/safe-state").json()["isSafe"])

    until(held, what="safe")
    metrics = operator.get(PAUSE).json()["metrics"]
    assert metrics == metrics | {"running": 1, "held": 1, "isDrained": False, "version": state["version"]}
    assert metrics["queued"] >= 1
    assert metrics["staleRunning"] == 0
    event = operator.get(PAUSE).json()["events"][-1]
    assert (event["action"], event["actor"], event["reason"], event["mode"]) == (
        "pause",
        "api",
        "an upgrade",
        "quiesce",
    )
    with asking(daemon, token_of(daemon, f"eve-{item[5:]}", "operator")) as eve:
        assert "an upgrade" in problem_of(eve.post(PAUSE, json={"action": "resume"}), 409)["detail"]
        eve.post(PAUSE, json={"action": "pause", "reason": "hers"})
        assert operator.post(PAUSE, json={"action": "resume", "reason": "done"}).json()["workersPaused"]
        lifted = eve.post(PAUSE, json={"action": "resume", "everybody": True}).json()
    assert (lifted["workersPaused"], lifted["lifted"]) == (False, 1)
    operator.post(f"/api/revisions/{running}/cancel")
    assert daemon.ended(waiting)["status"] == "completed"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "stop"},
        {"action": "pause"},
        {"action": "pause", "reason": ""},
        {"action": "pause", "reason": " \n"},
        {"action": "pause", "reason": 7},
        {"action": "pause", "reason": "x", "mode": "freeze"},
        {"action": "pause", "reason": "x", "version": -1},
        {"action": "pause", "reason": "x", "version": "1"},
        {"action": "pause", "reason": "x", "scope": "page:1"},
        {"action": "pause", "reason": "x", "scope": "handler:"},
        {"action": "pause", "reason": "x", "until": "tomorrow"},
        {"action": "pause", "reason": "x", "until": "2030-01-01T00:00:00"},
        {"action": "pause", "reason": "x", "actor": "somebody else"},
        {"action": "pause", "reason": "x" * 2001},
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(operator: httpx.Client, body: dict[str, object]) -> None:
    """With what is allowed; nothing has changed."""
    before = operator.get(PAUSE).json()["version"]
    problem_of(operator.post(PAUSE, json=body), 422)
    assert operator.get(PAUSE).json()["version"] == before


def test_of_sixteen_that_saw_the_same_version_one_wins(operator: httpx.Client) -> None:
    """The others are told that somebody was quicker, and have changed nothing; so it is each time."""
    for _ in range(20):
        version = operator.get(PAUSE).json()["version"]
        bodies = [{"action": "pause", "version": version, "reason": f"{version}, mine {n}"} for n in range(16)]
        answers = at_once(16, lambda n: operator.post(PAUSE, json=bodies[n]))  # noqa: B023
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 15
        state = operator.get(PAUSE).json()
        assert state["version"] == version + 1
        assert [answer.json()["reason"] for answer in answers if answer.status_code == 200] == [state["reason"]]
    for answer in answers:
        if answer.status_code == 409:
            assert problem_of(answer, 409)["version"] == version + 1
    problem_of(operator.post(PAUSE, json={"action": "resume", "version": version}), 409)
    assert not operator.post(PAUSE, json={"action": "resume", "version": version + 1}).json()["workersPaused"]


def test_processing_is_stopped_and_started(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """Stop is a drain; start takes it away; neither needs a body."""
    state = operator.post("/api/processing/stop").json()
    assert (state["workersPaused"], state["mode"]) == (True, "drain")
    assert state["reason"]
    waiting = added(operator, itemKey=item, handler="work")
    until(lambda: operator.get("/api/system/safe-state").json()["isSafe"], what="safe")
    safe = operator.get("/api/system/safe-state").json()
    assert safe == safe | {"paused": True, "running": 0, "held": 0, "unaware": [], "obstacles": []}
    assert daemon.row(waiting)["status"] == "pending"
    assert operator.post("/api/processing/start", json={"reason": "go"}).json()["workersPaused"] is False
    assert daemon.ended(waiting)["status"] == "completed"


def test_a_handler_can_be_paused_alone_and_for_a_time(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """Others run on; it ends by itself."""
    end = datetime.now(UTC) + timedelta(seconds=3)
    body = {"action": "pause", "reason": "alone", "scope": "handler:ghost", "until": end.isoformat()}
    state = operator.post(PAUSE, json=body).json()
    assert (state["workersPaused"], state["pauses"][0]["scope"]) == (False, "handler:ghost")
    paused = added(operator, itemKey=item, handler="ghost", payload={"seconds": 0})
    assert daemon.ended(added(operator, itemKey=f"{item} other", handler="work"))["status"] == "completed"
    assert daemon.ended(paused)["started_at"] >= end


def test_events_are_streamed_while_one_watches(daemon: Daemon, operator: httpx.Client, item: str) -> None:
    """Each part of what is watched when it changes, and the state and log of one revision; the stream never ends."""
    revision = added(operator, itemKey=item, handler="steps", payload={"steps": 2, "seconds": 0.1})
    seen: set[str] = set()
    with operator.stream("GET", "/api/events", params={"revision": revision}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            seen |= {line.removeprefix("event: ")} if line.startswith("event: ") else set()
            if {"pause", "queue", "workers", "revision"} <= seen and daemon.row(revision)["status"] == "completed":
                break
