"""Workers on machines without the database: what the server promises them, and what it keeps them from."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, at_once, problem_of, shared, token_of
from tests.process.daemon import Daemon, until

#: Seconds within which a revoked token is out.
REVOKED = 3.0


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here; each has handlers and items of its own."""
    settings = {"api_token": OPERATOR, "workers": 1, "unhandled_after": "10m", "pause_poll_interval": "300ms"}
    with shared(server, template, tmp_path_factory.mktemp("remote"), **settings) as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[httpx.Client]:
    """Somebody who may everything; whatever is paused at the end goes on."""
    with asking(daemon, OPERATOR) as client:
        yield client
        client.post("/api/system/worker-pause", json={"action": "resume", "everybody": True})


class Far:
    """A worker of this test's own: one token, one handler that nobody else has."""

    def __init__(self, daemon: Daemon, *, scopes: list[str] | None = None) -> None:
        self.daemon, self.name = daemon, f"far-{uuid.uuid4().hex[:8]}"
        self.handler = f"handler of {self.name}"
        self.token = token_of(daemon, self.name, scopes=scopes)
        self.client = asking(daemon, self.token)

    def insert(self, item: str = "", payload: object = None, **columns: object) -> int:
        """Insert a revision for it; returns the id."""
        return self.daemon.insert(item or f"item of {self.name}", self.handler, payload, **columns)

    def claims(self, request: str = "", **more: object) -> httpx.Response:
        """Ask for a revision."""
        body = {"claimRequestId": request or str(uuid.uuid4()), "handlers": [self.handler], **more}
        return self.client.post("/api/queue/jobs/claim", json=body)

    def claim(self, limit: float = 10.0) -> dict[str, Any]:
        """Claim a revision, as soon as there is one."""

        def claimed() -> dict[str, Any] | None:
            answer = self.claims()
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] | None = answer.json()["job"]
            return found

        job = until(claimed, limit, "a claim")
        assert job is not None
        return job

    def say(self, job: dict[str, Any], verb: str, **body: object) -> httpx.Response:
        """Say something of a job."""
        return self.client.post(f"/api/queue/jobs/{job['id']}/{verb}", json={"claimToken": job["claimToken"], **body})

    def told(self, job: dict[str, Any], verb: str, **body: object) -> dict[str, Any]:
        """Say something of a job that is taken, and return the answer."""
        answer = self.say(job, verb, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def another(daemon: Daemon) -> Iterator[Callable[..., Far]]:
    """Make workers of this test's own."""
    made: list[Far] = []

    def make(**more: Any) -> Far:
        made.append(Far(daemon, **more))
        return made[-1]

    yield make
    for each in made:
        each.client.close()


@pytest.fixture
def far(another: Callable[..., Far]) -> Far:
    """A worker of this test's own."""
    return another()


def beating(far: Far, job: dict[str, Any], over: threading.Event, **body: object) -> threading.Thread:
    """Keep a claim with heartbeats, until *over*."""

    def beat() -> None:
        while not over.wait(0.2):
            far.say(job, "heartbeat", **body)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    return thread


def rescued(daemon: Daemon, revision: int) -> dict[str, Any]:
    """Wait until a claim was taken back, and return its row."""
    until(lambda: daemon.row(revision)["status"] == "pending", what="rescued")
    return daemon.row(revision)


def test_a_claim_is_all_that_a_worker_needs(far: Far, daemon: Daemon) -> None:
    """Its payload, what it stacks on, its limits, and what an outside service can use to count it once."""
    first = far.insert(payload={"n": 1}, timeout_seconds=90, max_attempts=4)
    job = far.claim()
    assert (job["id"], job["payload"], job["base"], job["attempt"]) == (first, {"n": 1}, None, 1)
    assert (job["timeoutSeconds"], job["maxAttempts"], job["idempotencyKey"]) == (90, 4, f"{first}:1")
    row = daemon.row(first)
    assert (row["worker_id"], row["status"]) == (f"{far.name}/remote/R1.1", "processing")
    assert datetime.fromisoformat(job["leaseExpiresAt"]) == row["lease_expires_at"]
    assert far.told(job, "complete", result={"output": "one"})["job"]["status"] == "completed"
    with asking(daemon, OPERATOR) as client:
        new = {"itemKey": row["item_key"], "handler": far.handler, "metadata": {"trace": "abc"}}
        second = client.post("/api/revisions", json=new).json()["id"]
    answer = far.claims().json()
    assert (answer["job"]["id"], answer["job"]["base"]) == (second, {"output": "one"})
    assert answer["job"]["metadata"]["trace"] == "abc"
    assert answer["job"]["fence"] > job["fence"]
    assert answer["intervals"] == {"poll": 1.0, "pausePoll": 0.3, "heartbeat": 0.3, "lease": 2.0}
    assert answer["system"] == answer["system"] | {"workersPaused": False, "mode": None, "reason": None}
    assert far.claims().json()["job"] is None
    far.told(answer["job"], "complete", result=None)
    assert daemon.row(second)["revision_number"] == 2


def test_the_same_request_is_the_same_claim(far: Far, daemon: Daemon) -> None:
    """Sixteen at once claim one revision; the others wait for somebody who asks anew."""
    for number in range(4):
        far.insert(f"{far.name} {number}")
    request = str(uuid.uuid4())
    answers = [answer.json()["job"] for answer in at_once(16, lambda _: far.claims(request))]
    assert len({(job["id"], job["claimToken"], job["attempt"]) for job in answers}) == 1
    count = "SELECT count(*) AS n FROM revisions WHERE handler = %s AND status = 'processing'"
    assert daemon.sql(count, far.handler)[0]["n"] == 1
    assert far.claim()["id"] != answers[0]["id"]
    far.told(answers[0], "complete", result={})
    assert far.claims(request).json()["job"] is None, "what it had claimed has ended: the request is used up"


def test_a_worker_that_is_silent_loses_its_claim(far: Far, daemon: Daemon) -> None:
    """Its revision is taken back and counts as a crash; whatever it says later is refused and changes nothing."""
    revision = far.insert()
    old = far.claim()
    row = rescued(daemon, revision)
    assert (row["attempt"], row["crash_count"], row["error_kind"]) == (1, 1, "crash")
    new = far.claim()
    assert (new["id"], new["attempt"]) == (revision, 2)
    assert new["fence"] > old["fence"]
    over = threading.Event()
    beating(far, new, over)
    before = daemon.row(revision)
    said: dict[str, dict[str, object]] = {
        "heartbeat": {},
        "progress": {"percentage": 99, "log": [{"message": "from the past"}]},
        "complete": {"result": "old"},
        "fail": {"message": "old", "final": True},
        "release": {},
    }
    for verb, body in said.items():
        problem = problem_of(far.say(old, verb, **body), 409)
        assert problem["type"] == "urn:workerpool:problem:claim-lost"
        assert old["claimToken"] not in str(problem)
    changed = {"lease_expires_at", "updated_at"}
    after = daemon.row(revision)
    assert {key: after[key] for key in after.keys() - changed} == {key: before[key] for key in before.keys() - changed}
    assert far.told(new, "complete", result="new")["job"]["status"] == "completed"
    over.set()
    assert (daemon.row(revision)["result"], "from the past" in daemon.lines(revision)) == ("new", False)
    problem_of(far.say(old, "complete", result="old"), 409)


def test_an_outcome_counts_once(far: Far, daemon: Daemon) -> None:
    """The same result again, 16 times at once, is the same answer; another is refused; so it is with failures."""
    revision = far.insert()
    job = far.claim()
    told = at_once(16, lambda _: far.say(job, "complete", result={"a": 1}))
    assert [each.text for each in told if each.status_code != 200] == []
    assert {each.json()["job"]["status"] for each in told} == {"completed"}
    for verb, body in (("complete", {"result": {"a": 2}}), ("fail", {"message": "no"}), ("release", {})):
        problem_of(far.say(job, verb, **body), 409)
    row = daemon.row(revision)
    assert (row["result"], row["revision_number"], row["attempt"]) == ({"a": 1}, 1, 1)
    count = daemon.sql("SELECT processed_count AS n FROM workers WHERE id = %s", f"{far.name}/remote/R1.1")
    assert count[0]["n"] == 1
    far.insert()
    job = far.claim()
    for _ in range(2):
        assert far.told(job, "fail", message="no", final=True)["job"]["status"] == "failed"
    problem_of(far.say(job, "complete", result=None), 409)


def test_heartbeats_keep_a_claim(far: Far, daemon: Daemon) -> None:
    """For as long as they come, over several leases; each answer says until when."""
    revision = far.insert()
    job = far.claim()
    latest, began = job["leaseExpiresAt"], time.monotonic()
    while time.monotonic() - began < 4.5:
        renewed = far.told(job, "heartbeat")["job"]
        assert renewed["leaseExpiresAt"] > latest
        assert (renewed["cancelRequested"], renewed["hold"]) == (False, False)
        latest = renewed["leaseExpiresAt"]
        time.sleep(0.3)
    assert far.told(job, "complete", result=None)["job"]["status"] == "completed"
    assert daemon.row(revision)["attempt"] == 1


def test_a_claim_is_its_workers(far: Far, daemon: Daemon, another: Callable[..., Far]) -> None:
    """Another token's worker is refused, whoever it is; so is a handler beyond a token's scopes, and a wrong id."""
    other, scoped = another(), another(scopes=["render", "edit"])
    far.insert()
    job = far.claim()
    for verb, body in (("heartbeat", {}), ("complete", {"result": 1}), ("release", {})):
        problem = problem_of(other.say(job, verb, **body), 403)
        assert problem["type"] == "urn:workerpool:problem:not-yours"
    wrong = job | {"claimToken": str(uuid.uuid4())}
    problem_of(far.say(wrong, "heartbeat"), 409)
    problem_of(far.say(job | {"id": 2**60}, "heartbeat"), 404)
    problem = problem_of(scoped.claims(), 403)
    assert "it may: render, edit" in problem["detail"]
    assert scoped.claims(handlers=["edit"]).json()["job"] is None
    with asking(daemon, token_of(daemon, f"viewer-{far.name}", "viewer")) as viewer:
        body = {"claimRequestId": str(uuid.uuid4()), "handlers": [far.handler]}
        assert "viewer" in problem_of(viewer.post("/api/queue/jobs/claim", json=body), 403)["detail"]
        assert viewer.get("/api/workers").status_code == 200
    problem_of(far.client.get("/api/queue"), 403)
    assert far.told(job, "complete", result=None)["job"]["status"] == "completed"


def test_a_revoked_token_is_out_at_once(far: Far, daemon: Daemon) -> None:
    """Within three seconds nothing of it is taken any more; what it had claimed is rescued."""
    revision = far.insert()
    job = far.claim()
    far.told(job, "heartbeat")
    daemon.sql("UPDATE api_tokens SET revoked_at = now() WHERE name = %s", far.name)
    began = time.monotonic()
    until(lambda: far.say(job, "heartbeat").status_code == 401, what="refused")
    assert time.monotonic() - began < REVOKED
    answer = far.say(job, "complete", result=1)
    problem_of(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert rescued(daemon, revision)["crash_count"] == 1
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", revision)


def test_a_paused_claim_touches_nothing(far: Far, daemon: Daemon, operator: httpx.Client) -> None:
    """It is answered with no job and with what is in force; the queue's rows are as they were, to the last byte."""
    far.insert()
    pause = {"action": "pause", "mode": "drain", "reason": "for a backup"}
    state = operator.post("/api/system/worker-pause", json=pause).json()
    digest = "SELECT md5(string_agg(r::text || r.xmin::text, ' ' ORDER BY id)) AS d FROM revisions r"
    before = daemon.sql(digest)
    for _ in range(5):
        answer = far.claims().json()
        assert answer["job"] is None
        system = {"workersPaused": True, "mode": "drain", "reason": "for a backup", "version": state["version"]}
        assert answer["system"] == answer["system"] | system
        assert answer["system"]["updatedAt"] == state["updatedAt"]
    assert daemon.sql(digest) == before
    operator.post("/api/system/worker-pause", json={"action": "resume"})
    job = far.claim()
    operator.post("/api/system/worker-pause", json=pause | {"scope": f"handler:{far.handler}"})
    answer = far.claims().json()
    assert (answer["job"], answer["system"]["workersPaused"]) == (None, False)
    assert far.told(job, "complete", result=None)["job"]["status"] == "completed"


def test_a_claim_whose_answer_was_lost_is_told_while_paused(far: Far, operator: httpx.Client) -> None:
    """It was made before the pause: whoever repeats it finishes or gives it back, instead of losing it."""
    far.insert()
    request = str(uuid.uuid4())
    first = far.claims(request).json()["job"]
    operator.post("/api/system/worker-pause", json={"action": "pause", "mode": "drain", "reason": "a test"})
    again = far.claims(request).json()
    assert again["system"]["workersPaused"]
    assert again["job"]["claimToken"] == first["claimToken"]
    assert far.told(first, "release")["job"]["status"] == "pending"
    assert far.claims(request).json()["job"] is None


def test_a_cancel_is_told_with_the_next_heartbeat(far: Far, daemon: Daemon, operator: httpx.Client) -> None:
    """The worker ends it as cancelled, whichever verb it uses; a success that came first stays one."""
    for verb, body, status in (
        ("fail", {"message": "stopped", "kind": "cancelled"}, "cancelled"),
        ("fail", {"message": "an error"}, "cancelled"),
        ("release", {}, "cancelled"),
        ("complete", {"result": 1}, "completed"),
    ):
        revision = far.insert()
        job = far.claim()
        assert not far.told(job, "heartbeat")["job"]["cancelRequested"]
        assert operator.post(f"/api/revisions/{revision}/cancel").json()["answer"] == "asked"
        assert far.told(job, "heartbeat")["job"]["cancelRequested"]
        assert far.told(job, "progress", percentage=1)["job"]["cancelRequested"]
        assert far.told(job, verb, **body)["job"]["status"] == status
        assert daemon.row(revision)["status"] == status
    revision = far.insert()
    assert far.told(far.claim(), "fail", message="of its own accord", kind="cancelled")["job"]["status"] == "cancelled"
    assert daemon.row(revision)["error_kind"] == "cancelled"


def test_a_failure_is_tried_again_in_its_place(far: Far, daemon: Daemon) -> None:
    """With a back-off, or after what the worker says; so often as the row or the worker allows; unless it is final."""
    revision, behind = far.insert(), far.insert()
    job = far.claim()
    assert far.told(job, "fail", message="not yet", retryAfterSeconds=1.0)["job"]["status"] == "pending"
    row = daemon.row(revision)
    assert (row["parked"], row["error_message"], row["attempt"]) == ("due", "Retry 1/3: not yet", 1)
    assert 0.5 < (row["run_at"] - row["updated_at"]).total_seconds() <= 1.0
    assert far.claims().json()["job"] is None, "neither before it is due, nor what is behind it"
    job = far.claim()
    assert (job["id"], job["attempt"]) == (revision, 2)
    assert far.told(job, "fail", message="still", maxAttempts=2)["job"]["status"] == "failed"
    job = far.claim()
    assert job["id"] == behind
    assert far.told(job, "fail", message="never", kind="invalid_payload", final=True)["job"]["status"] == "failed"
    kinds = [daemon.row(each)["error_kind"] for each in (revision, behind)]
    assert kinds == ["error", "invalid_payload"]
    once = far.insert(max_attempts=1)
    assert far.told(far.claim(), "fail", message="late", kind="timeout", maxAttempts=9)["job"]["status"] == "failed"
    assert daemon.row(once)["error_kind"] == "timeout"


def test_what_is_released_is_not_counted(far: Far, daemon: Daemon) -> None:
    """It is pending again at once, or when the worker says, and keeps its place."""
    revision, behind = far.insert(), far.insert()
    for _ in range(4):
        job = far.claim()
        assert (job["id"], job["attempt"]) == (revision, 1)
        assert far.told(job, "release", reason="no power")["job"]["status"] == "pending"
        assert far.told(job, "release", reason="no power")["job"]["status"] in ("pending", "processing")
    assert daemon.row(revision)["attempt"] == 0
    job = far.claim()
    far.told(job, "release", afterSeconds=1.0, reason="not before one")
    assert (daemon.row(revision)["parked"], far.claims().json()["job"]) == ("due", None)
    job = far.claim()
    assert (job["id"], job["attempt"]) == (revision, 1)
    far.told(job, "complete", result=None)
    assert far.told(far.claim(), "complete", result=None)["job"]["id"] == behind


def test_progress_and_lines_are_seen_while_it_runs(far: Far, daemon: Daemon, operator: httpx.Client) -> None:
    """What is not named stays; lines keep their order, level and data; what the database cannot hold is refused."""
    revision = far.insert()
    job = far.claim()
    far.told(job, "progress", percentage=10, step="reading", totalSteps=3)
    far.told(job, "progress", percentage=20.5)
    lines = [{"message": f"line {n}", "level": "warning" if n % 2 else "info", "data": {"n": n}} for n in range(300)]
    far.told(job, "progress", log=lines)
    seen = operator.get(f"/api/revisions/{revision}/progress").json()
    assert (seen["progressPercentage"], seen["currentStep"], seen["totalSteps"]) == (20.5, "reading", 3)
    found = operator.get(f"/api/revisions/{revision}/log", params={"limit": 1000, "after": 0}).json()["lines"]
    told = [(line["message"], line["level"], line["data"]) for line in found if line["data"]]
    assert told == [(line["message"], line["level"], line["data"]) for line in lines]
    assert {line["attempt"] for line in found} == {1}
    for body in ({"percentage": 101}, {"percentage": "10"}, {"step": 7}, {"totalSteps": 0}, {"log": [{"message": ""}]}):
        problem_of(far.say(job, "progress", **body), 422)
    problem_of(far.say(job, "progress", log=[{"message": "a\0b"}]), 400)
    far.told(job, "complete", result=None)
    problem_of(far.say(job, "progress", percentage=1), 409)


def test_large_payloads_and_results_pass(far: Far, daemon: Daemon) -> None:
    """Whatever the queue can hold comes whole; a result beyond what is taken is refused, and the claim lives on."""
    text = "zażółć 🎈 " * 40_000
    revision = far.insert(payload={"text": text})
    job = far.claim()
    assert job["payload"] == {"text": text}
    problem_of(far.say(job, "complete", result="x" * (17 << 20)), 413)
    far.told(job, "complete", result={"output": text})
    assert daemon.row(revision)["result"] == {"output": text}
    far.insert()
    job = far.claim()
    assert job["base"] == {"output": text}
    far.told(job, "complete", result=None)


def is_safe(far: Far, job: dict[str, Any], operator: httpx.Client) -> None:
    """Stay at a checkpoint until the pool is safe."""

    def safe() -> bool:
        assert far.told(job, "heartbeat", held=True)["job"]["hold"]
        return bool(operator.get("/api/system/safe-state").json()["isSafe"])

    until(safe, what="safe")


def test_the_safe_state_waits_for_a_remote_worker(far: Far, daemon: Daemon, operator: httpx.Client) -> None:
    """A quiesce holds it at its next checkpoint: until it says so it is not safe, then it is; it goes on when told."""
    revision = far.insert()
    job = far.claim()
    pause = {"action": "pause", "mode": "quiesce", "reason": "for a snapshot"}
    version = operator.post("/api/system/worker-pause", json=pause).json()["version"]
    answer = far.told(job, "heartbeat")
    assert (answer["job"]["hold"], answer["system"]["mode"], answer["system"]["version"]) == (True, "quiesce", version)
    safe = operator.get("/api/system/safe-state").json()
    assert (safe["isSafe"], safe["running"], safe["held"]) == (False, 1, 0)
    assert any(f"revision {revision} of" in each for each in safe["obstacles"])
    is_safe(far, job, operator)
    pause["reason"] = "another one"
    operator.post("/api/system/worker-pause", json=pause)
    assert not operator.get("/api/system/safe-state").json()["isSafe"], "it is held for a version that is over"
    is_safe(far, job, operator)
    operator.post("/api/system/worker-pause", json={"action": "resume"})
    assert not far.told(job, "heartbeat", held=True)["job"]["hold"]
    state = "SELECT state FROM workers WHERE id = %s"
    assert daemon.sql(state, f"{far.name}/remote/R1.1")[0]["state"] == "busy"
    assert far.told(job, "complete", result=None)["job"]["attempt"] == 1


def test_one_that_dies_in_a_hold_is_rescued_after_the_pause(far: Far, daemon: Daemon, operator: httpx.Client) -> None:
    """Nothing is taken back while all is paused (P7); it does not keep the pool from going on."""
    revision = far.insert()
    job = far.claim()
    operator.post("/api/system/worker-pause", json={"action": "pause", "mode": "quiesce", "reason": "a test"})
    far.told(job, "heartbeat", held=True)
    # (the other workers of this module have left without a word: nothing waits in them)
    until(lambda: operator.get("/api/system/safe-state").json()["isSafe"], 2.0, what="safe")
    until(lambda: daemon.sql("SELECT 1 FROM revisions WHERE id = %s AND lease_expires_at < now()", revision))
    until(lambda: operator.get("/api/system/safe-state").json()["isSafe"], what="safe")
    assert operator.get("/api/system/worker-pause").json()["metrics"]["staleRunning"] == 1
    assert daemon.row(revision)["status"] == "processing"
    operator.post("/api/system/worker-pause", json={"action": "resume"})
    assert rescued(daemon, revision)["crash_count"] == 1
    problem_of(far.say(job, "heartbeat", held=True), 409)
    assert far.told(far.claim(), "complete", result=None)["job"]["attempt"] == 2


def test_a_silent_worker_is_shown_as_one(far: Far, daemon: Daemon, operator: httpx.Client) -> None:
    """It stands among the workers, busy with its revision; when it is not heard of for a lease it is silent."""
    revision = far.insert()
    far.claim()

    def seen() -> dict[str, Any]:
        workers = operator.get("/api/workers").json()["workers"]
        return next(each for each in workers if each["id"] == f"{far.name}/remote/R1.1")

    assert (seen()["state"], seen()["currentRevisionId"], seen()["handlers"]) == ("busy", revision, [far.handler])
    until(lambda: seen()["state"] == "silent", what="silent")
    assert rescued(daemon, revision)["attempt"] == 1
    assert operator.get("/readyz").status_code == 200


def test_order_holds_with_local_and_remote_workers_together(daemon: Daemon, another: Callable[..., Far]) -> None:
    """Revisions of an item run one after the other, in their order, whoever performs them; both do their share."""
    items, each = [f"together {number}" for number in range(6)], 12
    revisions = [daemon.insert(item, "work", {"seconds": 0.01}) for _ in range(each) for item in items]
    over, remotes = threading.Event(), [another() for _ in range(2)]

    def perform(far: Far) -> None:
        far.handler = "work"
        while not over.is_set():
            job = far.claims().json()["job"]
            if job is not None:
                time.sleep(0.01)
                far.told(job, "complete", result={"remote": True})

    threads = [threading.Thread(target=perform, args=(far,)) for far in remotes]
    for thread in threads:
        thread.start()
    for revision in revisions:
        daemon.ended(revision)
    over.set()
    for thread in threads:
        thread.join()
    rows = daemon.sql("SELECT * FROM revisions WHERE item_key LIKE 'together %%' ORDER BY item_key, id")
    assert {(row["status"], row["attempt"]) for row in rows} == {("completed", 1)}
    for before, after in pairwise(rows):
        if before["item_key"] == after["item_key"]:
            assert before["completed_at"] <= after["started_at"]
            assert after["revision_number"] == before["revision_number"] + 1
    assert {row["worker_id"].partition("/remote/")[1] for row in rows} == {"", "/remote/"}


def test_unreadable_messages_are_refused_with_what_is_wrong(far: Far) -> None:
    """422 names each field; nothing of what was sent is sent back."""
    secret = "the-secret-value"
    for body in (
        {"handlers": [far.handler]},
        {"claimRequestId": secret, "handlers": [far.handler]},
        {"claimRequestId": str(uuid.uuid4()), "handlers": []},
        {"claimRequestId": str(uuid.uuid4()), "handlers": [far.handler], "worker": "a/b"},
        {"claimRequestId": str(uuid.uuid4()), "handlers": [far.handler], secret: 1},
    ):
        problem = problem_of(far.client.post("/api/queue/jobs/claim", json=body), 422)
        assert problem["errors"]
        assert secret not in str(problem["errors"]) or secret in body
    answer = far.client.post("/api/queue/jobs/claim", content=b"{", headers={"Content-Type": "application/json"})
    problem_of(answer, 400)
