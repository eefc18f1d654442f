"""The figures of the pool: counts that many processes add to, the queue at this moment, and who gets them."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from tests.store.driving import Session as Driver
from workerpool.api import metrics as metrics_module
from workerpool.api.metrics import CONTENT_TYPE, OTHERS, Metrics
from workerpool.api.statsd import Client, Statsd
from workerpool.store.connection import statement
from workerpool.store.line import Line, LineLost
from workerpool.store.session import Session
from workerpool.store.tallies import BOUNDS, INFINITY, Key, Sample, Sender, key, parameters, read

DEPLOY = Path(__file__).parents[2] / "deploy"
SILENCE = timedelta(seconds=60)
#: The order in which these tests name them.
LABELS = ("status", "state", "handler", "outcome", "kind", "mode", "reason", "host", "le")
WORKER = (
    "INSERT INTO {schema}.workers "
    "(id, manager_id, host, slot, generation, worker_pid, state, last_heartbeat, handlers) "
    "SELECT %s, 'm', split_part(%s, '/', 1), 'W1', 1, 1, %s, clock_timestamp() - %s::interval, %s"
)
PROCESSING = (
    "INSERT INTO {schema}.revisions (item_key, status, worker_id, claim_token, lease_expires_at) "
    "VALUES (%s, 'processing', %s, gen_random_uuid(), clock_timestamp() + %s::interval)"
)


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    """A session on a database in which nothing was counted."""
    with Session(database, "workerpool", "test") as session:
        session.connection.execute(
            "DELETE FROM workerpool.tallies; DELETE FROM workerpool.pauses; DELETE FROM workerpool.workers"
        )
        yield session


@pytest.fixture
def driver(database: str) -> Iterator[Driver]:
    """A worker's connection."""
    with Driver(database) as driver:
        yield driver


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """A worker's line."""
    line = Line(database, "workerpool", "counting")
    line.open()
    yield line
    line.close()


def figures(session: Session, metrics: Metrics | None = None) -> dict[tuple[str, ...], float]:
    """Scrape once: values by name and labels."""
    text = (metrics or Metrics(SILENCE)).text(session).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, *(sample.labels[each] for each in LABELS if each in sample.labels)] = sample.value
    return found


def kept(session: Session) -> dict[Key, float]:
    """What the table of counts holds."""
    return {(row["name"], row["handler"], row["kind"], row["bucket"]): row["value"] for row in read(session)}


def test_many_processes_add_to_the_same_counts(database: str, session: Session) -> None:
    """Eight senders, the same keys in other orders, at once: no deadlock, and every count is there."""
    keys = [key("claims", f"h{number}") for number in range(40)]
    failed: list[BaseException] = []

    def send(number: int) -> None:
        order = keys[number * 5 :] + keys[: number * 5]
        try:
            with Session(database, "workerpool", "test") as mine:
                for _ in range(60):
                    mine.rows("tally", **parameters(dict.fromkeys(order if number % 2 else order[::-1], 1.0)))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert kept(session) == dict.fromkeys(keys, 480.0)


def test_a_sender_makes_up_for_what_failed(session: Session, line: Line) -> None:
    """A lock on the table, then a lost connection: nothing of what was counted is lost, and nothing is sent twice."""
    counts: dict[Key, float] = {key("claims", "a"): 1.0}
    sender = Sender(line, counts.items)
    line.call("patience", seconds=0.1)
    with session.transaction():
        session.connection.execute("LOCK TABLE workerpool.tallies IN ACCESS EXCLUSIVE MODE")
        assert not sender.send()
    counts[key("claims", "a")] = 3.0
    session.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE '%counting' AND datname = current_database()"
    )
    with pytest.raises(LineLost):
        sender.send()
    line.open()
    counts[key("rescues")] = 1.0
    assert sender.send()
    assert kept(session) == {key("claims", "a"): 3.0, key("rescues"): 1.0}
    assert not sender.send()


def test_waits_are_those_of_the_rows(session: Session, driver: Driver) -> None:
    """From insertion, or from when it was due, to the claim; a sample stands for all claims of its handler; what was
    put off since, or is gone, is left out.
    """
    add = (
        "INSERT INTO {schema}.revisions (item_key, handler, created_at, run_at, started_at, status, completed_at) "
        "SELECT %s, %s, n, n + %s::interval, n + %s::interval, 'cancelled', n "
        "FROM (SELECT now() - interval '1 h' AS n) x RETURNING id"
    )
    waits = {  # due after, claimed after
        "at once": ("h", "0 s", "0.5 ms"),
        "a while": ("h", "0 s", "20 s"),
        "scheduled": ("h", "30 s", "34 s"),
        "put off since": ("h", "40 s", "10 s"),
        "other": ("other", "0 s", "2 h"),
    }
    ids = [driver.sql(add, item, *given)[0][0] for item, given in waits.items()]
    counts: dict[Key, float] = {key("claims", "h"): 300.0, key("claims", "other"): 2.0, key("claims", "unseen"): 9.0}
    session.rows("tally", **parameters(counts, Sample([*ids, 999_999], ["h", "other"])))
    found = {each: value for each, value in kept(session).items() if each[0].startswith("wait")}
    assert found == {
        key("wait_seconds", "h", "", 0.001): 100.0,
        key("wait_seconds", "h", "", 5.0): 100.0,
        key("wait_seconds", "h", "", 30.0): 100.0,
        key("wait_seconds_sum", "h"): pytest.approx(100 * (0.0005 + 20 + 4)),
        key("wait_seconds", "other", "", INFINITY): 2.0,
        key("wait_seconds_sum", "other"): 2 * 7200.0,
    }


def test_counters_as_prometheus_gets_them(session: Session) -> None:
    """Names, labels and buckets as Prometheus wants them; attempts are the outcomes that count; rare things are told
    as none from the start.
    """
    strange = 'a "quoted"\nname\\ ☃'
    counts: dict[Key, float] = {
        key("claims", "a"): 10, key("claims", strange): 1,
        key("outcomes", "a", "completed"): 5, key("outcomes", "a", "retried:timeout"): 2,
        key("outcomes", "a", "snoozed"): 1, key("outcomes", "a", "released"): 1,
        key("run_seconds", "a", "", 0.001): 4, key("run_seconds", "a", "", 2.5): 1,
        key("run_seconds", "a", "", INFINITY): 2, key("run_seconds_sum", "a"): 9000.5,
        key("wait_seconds", "a", "", 0.1): 3.4, key("wait_seconds", "a", "", 1.0): 6.6,
        key("restarts", "", "crash"): 3, key("rescues"): 2, key("fenced"): 1,
    }  # fmt: skip
    session.rows("tally", **parameters(counts))
    found = figures(session)
    assert found["workerpool_claims_total", "a"] == 10
    assert found["workerpool_claims_total", strange] == 1
    assert found["workerpool_attempts_total", "a"] == 7
    assert found["workerpool_outcomes_total", "a", "completed", ""] == 5
    assert found["workerpool_outcomes_total", "a", "retried", "timeout"] == 2
    assert found["workerpool_outcomes_total", "a", "failed", "error"] == 0
    assert found["workerpool_restarts_total", "crash"] == 3
    assert found["workerpool_restarts_total", "timeout"] == 0
    assert found["workerpool_rescues_total",] == 2
    assert found["workerpool_fenced_total",] == 1
    assert found["workerpool_unhandled_total",] == 0
    runs = {name[2]: value for name, value in found.items() if name[:2] == ("workerpool_run_seconds_bucket", "a")}
    assert (runs["0.001"], runs["1.0"], runs["2.5"], runs["3600.0"], runs["+Inf"]) == (4, 4, 5, 5, 7)
    assert len(runs) == len(BOUNDS)
    assert found["workerpool_run_seconds_count", "a"] == 7
    assert found["workerpool_run_seconds_sum", "a"] == 9000.5
    assert found["workerpool_wait_seconds_bucket", "a", "0.5"] == 3
    assert found["workerpool_wait_seconds_count", "a"] == 10
    assert CONTENT_TYPE.startswith("text/plain")


def test_the_queue_as_prometheus_gets_it(session: Session, driver: Driver) -> None:
    """Depth by status and handler, whatever is parked; drafts are not in the queue; handlers that workers have are
    told where nothing waits.
    """
    driver.sql(WORKER, "h/1/W1.1", "h/1/W1.1", "idle", "1 s", ["a", "unused"])
    driver.insert("one", "one", "two", handler="a")
    driver.insert("one", "three", handler="b")
    driver.insert("four", handler="b", status="draft")
    driver.sql(
        "INSERT INTO {schema}.revisions (item_key, handler, run_at) VALUES ('five', 'b', now() + interval '1 h')"
    )
    driver.turn(handlers=("a",))
    found = figures(session)
    depths = {name[1:]: value for name, value in found.items() if name[0] == "workerpool_revisions"}
    assert depths == {
        ("pending", "a"): 2, ("pending", "b"): 2, ("processing", "a"): 1, ("scheduled", "b"): 1,
        ("scheduled", "a"): 0,
        **dict.fromkeys([(status, "unused") for status in ("pending", "processing", "scheduled")], 0),
    }  # fmt: skip


def test_handlers_without_end_are_told_as_one(
    session: Session, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may enqueue for any name: the figures are of the deepest handlers, and of all others together."""
    monkeypatch.setattr(metrics_module, "HANDLERS", 3)
    driver.sql(
        "INSERT INTO {schema}.revisions (item_key, handler) "
        "SELECT 'i' || g, 'h' || least(g, 40) FROM generate_series(1, 50) g"
    )
    found = figures(session)
    depths = {name[2]: value for name, value in found.items() if name[0] == "workerpool_revisions"}
    assert len(depths) == 4
    assert depths["h40"] == 11
    assert depths[OTHERS] == 50 - 11 - 2


def test_the_age_of_the_oldest_head(session: Session, driver: Driver) -> None:
    """Only what could be claimed counts: not what is behind another of its item, backs off, or is halted; what became
    due counts from then on, also where no worker is there to notice.
    """

    def add(item: str, age: str, **more: Any) -> int:
        columns = {"item_key": item, "created_at": None, "run_at": None} | more
        values = [f"now() - interval '{age}'" if value is None else f"'{value}'" for value in columns.values()]
        text = f"INSERT INTO {{schema}}.revisions ({', '.join(columns)}) VALUES ({', '.join(values)}) RETURNING id"
        return int(driver.sql(text)[0][0])

    def age() -> float:
        return figures(session)["workerpool_oldest_head_age_seconds",]

    assert age() == 0
    driver.sql(PROCESSING, "busy", "x", "1 h")
    add("busy", "5 h")
    add("stopped", "4 h")
    driver.sql("INSERT INTO {schema}.items (item_key, halted_at, halt_reason) VALUES ('stopped', now(), 'x')")
    assert age() == 0
    add("later", "1 m", status="scheduled", run_at="2999-01-01")
    assert age() == 0
    add("free", "10 m", priority=-3, handler="other")
    add("free", "3 h", priority=9)  # behind the one before it, whatever its age
    add("younger", "5 m")
    assert 600 <= age() < 630
    driver.sql("UPDATE {schema}.revisions SET parked = 'behind' WHERE item_key = 'free'")
    assert 300 <= age() < 330
    overdue = add("retried", "2 h", parked="due")
    assert 7200 <= age() < 7230
    driver.sql("UPDATE {schema}.revisions SET run_at = now() + interval '1 m' WHERE id = %s", overdue)
    assert 300 <= age() < 330


def test_workers_and_the_pause_as_prometheus_gets_them(session: Session, driver: Driver) -> None:
    """Workers by state and host, those that are silent as such, who has revisions; what is paused, and since when."""
    for worker, state, seen in (
        ("a/1/W1.1", "idle", "1 s"), ("a/1/W2.1", "busy", "1 s"), ("b/1/W1.1", "busy", "1 h"),
        ("b/1/W2.1", "gone", "1 h"),
    ):  # fmt: skip
        driver.sql(WORKER, worker, worker, state, seen, [])
    driver.sql(PROCESSING, "one", "a/1/W2.1", "1 h")
    driver.sql(PROCESSING, "two", "a/1/W2.1", "1 h")
    driver.sql(PROCESSING, "three", "b/1/W1.1", "-1 s")
    driver.sql("INSERT INTO {schema}.items (item_key, halted_at, halt_reason) VALUES ('stopped', now(), 'x')")
    found = figures(session)
    workers = {name[1:]: value for name, value in found.items() if name[0] == "workerpool_workers" and value}
    assert workers == {("idle", "a"): 1, ("busy", "a"): 1, ("silent", "b"): 1}
    assert found["workerpool_workers", "paused", "b"] == 0
    assert found["workerpool_workers_alive",] == 2
    assert {name[1]: value for name, value in found.items() if name[0] == "workerpool_workers_busy"} == {"a": 1, "b": 0}
    assert (found["workerpool_expired_leases",], found["workerpool_halted_items",]) == (1, 1)
    assert (found["workerpool_paused", "drain"], found["workerpool_pause_age_seconds",]) == (0, 0)
    driver.sql("SELECT {schema}.pause('all', 'quiesce', 'x', 'x', 'x', NULL)")
    driver.sql("SELECT {schema}.pause('handler:a', 'drain', 'x', 'x', 'x', NULL)")
    found = figures(session)
    assert (found["workerpool_paused", "drain"], found["workerpool_paused", "quiesce"]) == (0, 1)
    assert 0 < found["workerpool_pause_age_seconds",] < 30
    assert found["workerpool_scoped_pauses",] == 1


def pages(session: Session, before: str, name: str, **given: Any) -> int:
    """Return how many pages a statement touches that is sent after another."""
    text = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement(name, "workerpool").as_bytes(session.connection)
    with session.transaction():
        session.rows(before)
        row = session.connection.execute(text, given).fetchone()
    assert row is not None
    top = row[0][0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def test_a_scrape_does_not_walk_the_queue_nor_the_past(session: Session, driver: Driver) -> None:
    """A look touches as many pages with 60,000 revisions pending, and as many scheduled, as with 1,000, with statistics
    of neither; the depth alone is counted, without looking at what has ended.
    """
    driver.sql("SET statement_timeout = '60s'")
    driver.sql("ALTER TABLE {schema}.revisions SET (autovacuum_enabled = off)")
    more = "INSERT INTO {schema}.revisions (item_key) SELECT 'i' || g FROM generate_series(%s::integer, %s::integer) g"
    driver.sql("VACUUM ANALYZE {schema}.revisions")
    driver.sql(more, 1, 1_000)
    few = pages(session, "in_order", "gauges", silence=SILENCE)
    assert few < 2_000
    driver.sql(more, 1_001, 60_000)
    driver.sql(
        "INSERT INTO {schema}.revisions (item_key, run_at) "
        "SELECT 's' || g, now() + interval '1 day' FROM generate_series(1, 60000) g"
    )
    many = pages(session, "in_order", "gauges", silence=SILENCE)
    assert many <= few + 400  # an index that is one level deeper, for a hundred candidates
    few = pages(session, "in_bulk", "depths", most=1_000_000)
    past = (
        "INSERT INTO {schema}.revisions (item_key, status, completed_at, revision_number) "
        "SELECT 'page', 'completed', now(), g FROM generate_series(1, 60000) g"
    )
    driver.sql(past)
    assert pages(session, "in_bulk", "depths", most=1_000_000) <= few + 10
    assert few < 4_000
    driver.sql("TRUNCATE {schema}.revisions CASCADE")


def test_the_depth_is_used_again(session: Session, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever scrapes, and however often: the queue is counted once in fifteen seconds, everything else each time."""
    now = [1000.0]
    monkeypatch.setattr(metrics_module.time, "monotonic", lambda: now[0])
    metrics = Metrics(SILENCE)
    driver.insert("one", handler="a")
    assert figures(session, metrics)["workerpool_revisions", "pending", "a"] == 1
    driver.insert("two", handler="a")
    driver.sql(WORKER, "a/1/W1.1", "a/1/W1.1", "idle", "1 s", [])
    now[0] += metrics_module.REUSED - 0.1
    found = figures(session, metrics)
    assert (found["workerpool_revisions", "pending", "a"], found["workerpool_workers_alive",]) == (1, 1)
    now[0] += 0.2
    assert figures(session, metrics)["workerpool_revisions", "pending", "a"] == 2


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A StatsD that listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5.0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        yield listening


def heard(listener: socket.socket) -> dict[str, str]:
    """Take all that has come, until nothing comes any more."""
    found: dict[str, str] = {}
    listener.settimeout(0.2)
    try:
        while True:
            for stat in listener.recv(65_536).decode("ascii").splitlines():
                name, _, value = stat.partition(":")
                assert name not in found
                found[name] = value
    except TimeoutError:
        return found


def add(session: Session, **more: float) -> None:
    """Count something of a handler with a strange name."""
    counts = {
        key("outcomes", "a b/ü.c", "completed"): more.get("completed", 0.0),
        key("run_seconds", "a b/ü.c", "", 0.5): more.get("completed", 0.0),
        key("run_seconds_sum", "a b/ü.c"): more.get("seconds", 0.0),
        key("restarts", "", "crash"): more.get("restarts", 0.0),
    }
    session.rows("tally", **parameters(counts))


def test_statsd_gets_the_same(session: Session, driver: Driver, listener: socket.socket) -> None:
    """Gauges as they are, counters by what they rose since the last push; the first push tells no history."""
    driver.sql(WORKER, "web.1/1/W1.1", "web.1/1/W1.1", "idle", "1 s", ["default"])
    driver.insert("one", "two")
    add(session, completed=1000, seconds=77.7, restarts=5)
    statsd = Statsd(Metrics(SILENCE), *listener.getsockname())
    assert statsd.push(session)
    found = heard(listener)
    assert found["workerpool_revisions.pending.default"] == "2|g"
    assert found["workerpool_workers.idle.web_1"] == "1|g"
    assert found["workerpool_workers_alive"] == "1|g"
    assert not [name for name, value in found.items() if value.endswith("|c")]
    add(session, completed=3, seconds=0.25)
    assert statsd.push(session)
    found = heard(listener)
    assert {name: value for name, value in found.items() if value.endswith("|c")} == {
        "workerpool_outcomes_total.a_b___c.completed.none": "3|c",
        "workerpool_attempts_total.a_b___c": "3|c",
        "workerpool_run_seconds_count.a_b___c": "3|c",
        "workerpool_run_seconds_sum.a_b___c": "0.25|c",
    }
    assert found["workerpool_workers_alive"] == "1|g"
    statsd.close()


class Failing:
    """A client whose packets do not go out after the first few."""

    def __init__(self, packets: int) -> None:
        self.left, self.sent = packets, dict[str, float]()

    def gauge(self, stat: str, value: float) -> None:
        """Say how much there is."""
        self._send()

    def incr(self, stat: str, count: float) -> None:
        """Say how much more there is."""
        self._send()
        self.sent[stat] = self.sent.get(stat, 0) + count

    def close(self) -> None:
        """Nothing to close."""

    def _send(self) -> None:
        if not self.left:
            raise OSError(101, "Network is unreachable")
        self.left -= 1


def test_a_statsd_that_is_away_disturbs_nobody(session: Session) -> None:
    """A name that does not resolve, a network that is away, a database that is: each is told once, nothing is raised,
    and what was counted meanwhile is sent when it can be, once.
    """
    clients: list[Callable[[], Client]] = []

    def connect(host: str, port: int) -> Client:
        return clients.pop(0)() if clients else client

    def unknown() -> Client:
        raise socket.gaierror(-2, "Name or service not known")

    client = Failing(10_000)
    statsd = Statsd(Metrics(SILENCE), "statsd.invalid", 8125, connect)
    with capture_logs() as logged:
        clients += [unknown, unknown]
        assert [statsd.push(session), statsd.push(session)] == [False, False]
        add(session, completed=4, seconds=1.0, restarts=2)
        # (all gauges, then some counters, and then no more)
        gauges = sum(len(each.samples) for each in Metrics(SILENCE).collect(session) if each.type == "gauge")
        broken = Failing(gauges + 2)
        clients.append(lambda: broken)
        assert not statsd.push(session)
        clients.append(lambda: broken)
        assert not statsd.push(session)
        assert len(broken.sent) == 2
        with Session(session.connection.info.dsn, "nowhere", "test") as elsewhere:
            assert not statsd.push(elsewhere)
        assert statsd.push(session)
    assert [each["event"] for each in logged] == ["statsd.failed"] * 3
    sent = {**broken.sent, **client.sent}
    assert sent == {
        "workerpool_outcomes_total.a_b___c.completed.none": 4,
        "workerpool_attempts_total.a_b___c": 4,
        "workerpool_run_seconds_count.a_b___c": 4,
        "workerpool_run_seconds_sum.a_b___c": 1,
        "workerpool_restarts_total.crash": 2,
    }
    assert not set(broken.sent) & set(client.sent)


def expressions() -> list[str]:
    """Every expression of the dashboard and of the alerts."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert found
    found += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    alerts = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text(encoding="utf-8"))
    return found + [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]


def test_dashboard_and_alerts_ask_for_what_there_is(session: Session, driver: Driver) -> None:
    """Every name in them is one that is told, with the labels that they ask for; and everything told is shown."""
    driver.sql(WORKER, "a/1/W1.1", "a/1/W1.1", "idle", "1 s", ["a"])
    counts = [key("outcomes", "a", "completed"), key("run_seconds", "a"), key("wait_seconds", "a")]
    session.rows("tally", **parameters(dict.fromkeys(counts, 1.0)))
    told: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(Metrics(SILENCE).text(session).decode()):
        for sample in family.samples:
            told[sample.name] = {*sample.labels, "job", "instance"}
    asked: set[str] = set()
    for expression in expressions():
        names = set(re.findall(r"workerpool_\w+", expression))
        assert names, expression
        asked |= names
        assert names <= set(told), expression
        for name, matchers in re.findall(r"(workerpool_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= told[name], expression
        grouped = {label for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(", ")}
        assert grouped <= set().union(*(told[name] for name in names)), expression
    histograms = {f"workerpool_{name}_seconds" for name in ("run", "wait")}
    shown = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in asked}
    told_of = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in told}
    assert histograms <= shown
    assert told_of - shown == set()


def test_the_dashboard_can_be_imported() -> None:
    """One data source, chosen at the import, for every panel; no two panels in one place; each has a title."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    assert dashboard["id"] is None
    (source,) = (each for each in dashboard["templating"]["list"] if each["type"] == "datasource")
    assert source["query"] == "prometheus"
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["title"]
        for part in (panel, *panel.get("targets", ())):
            assert part.get("datasource", {"uid": "${datasource}"})["uid"] == "${datasource}"
        at = panel["gridPos"]
        places = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & taken
        assert at["x"] + at["w"] <= 24
        taken |= places
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_each_alert_says_what_to_do() -> None:
    """A name of its own, how bad it is, what happened and what to do about it."""
    alerts = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text(encoding="utf-8"))
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 7
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert len(rule["annotations"]["summary"]) < 120
        assert len(rule["annotations"]["description"]) > 20
