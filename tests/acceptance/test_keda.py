"""`deploy/kubernetes/keda-scaledobject.yaml`: it names what the other manifests make, its query counts what can run.

The query is executed as it stands on a real database; KEDA itself is not here.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from workerpool import config

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
WORKER = "INSERT INTO workerpool.revisions (item_key, handler) SELECT {item}, 'default' FROM generate_series(1, {n}) g"
Count = Callable[[], int]


def parts(name: str) -> dict[str, Any]:
    """A manifest's documents by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / name).read_text()) if each}


def trigger() -> dict[str, Any]:
    """The one trigger of the ScaledObject."""
    (found,) = parts("keda-scaledobject.yaml")["ScaledObject"]["spec"]["triggers"]
    return dict(found)


@pytest.fixture
def count(connection: psycopg.Connection) -> Count:
    """Ask the database what KEDA would."""

    def ask() -> int:
        row = connection.execute(trigger()["metadata"]["query"].encode()).fetchone()
        assert row is not None
        assert len(row) == 1, "KEDA takes one number"
        return int(row[0])

    return ask


def fill(connection: psycopg.Connection, item: str, n: int = 1) -> None:
    """Insert n revisions; item is an SQL expression over the running number g."""
    connection.execute(WORKER.format(item=item, n=n).encode())


def claim(connection: psycopg.Connection, how_many: int = 1) -> int:
    """Claim as a worker does; returns how many were got."""
    rows = connection.execute(
        "SELECT answer FROM workerpool.turn('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', 'h/1-a/W1.1',"
        " gen_random_uuid(), '{default}', '{null}', %s, 1, '1 minute')",
        [how_many],
    ).fetchall()
    return sum(answer == "claimed" for (answer,) in rows)


def test_it_names_what_the_other_manifests_make() -> None:
    """The scaled deployment, the secret and its key, and the authentication are those that are there."""
    found = parts("keda-scaledobject.yaml")
    deployment = parts("deployment.yaml")["Deployment"]
    secret = parts("secret.example.yaml")["Secret"]
    assert found["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert trigger()["authenticationRef"]["name"] == found["TriggerAuthentication"]["metadata"]["name"]
    (reference,) = found["TriggerAuthentication"]["spec"]["secretTargetRef"]
    assert reference["parameter"] == "connection"
    assert reference["name"] == secret["metadata"]["name"]
    assert reference["key"] in secret["stringData"]


def test_a_pod_is_asked_for_each_of_its_workers() -> None:
    """One pod for as many items as it has workers, and one pod at least, whose keeper looks after the queue."""
    settings = parts("configmap.yaml")["ConfigMap"]["data"]
    specification = parts("keda-scaledobject.yaml")["ScaledObject"]["spec"]
    assert trigger()["type"] == "postgresql"
    assert trigger()["metadata"]["targetQueryValue"] == settings["WORKERPOOL_WORKERS"]
    assert 1 <= specification["minReplicaCount"] < specification["maxReplicaCount"]
    assert specification["minReplicaCount"] <= specification["fallback"]["replicas"]


def test_nothing_is_scaled_down_within_a_grace() -> None:
    """Every way down takes longer than grace + 5 s, and the kubelet waits so long for each pod that goes."""
    settings = config.load({}, dict(parts("configmap.yaml")["ConfigMap"]["data"]))
    limit = settings.shutdown_grace + timedelta(seconds=5)
    specification = parts("keda-scaledobject.yaml")["ScaledObject"]["spec"]
    down = specification["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    pod = parts("deployment.yaml")["Deployment"]["spec"]["template"]["spec"]
    assert timedelta(seconds=specification["cooldownPeriod"]) > limit
    assert timedelta(seconds=down["stabilizationWindowSeconds"]) > limit
    assert all(timedelta(seconds=each["periodSeconds"]) > limit for each in down["policies"])
    assert timedelta(seconds=pod["terminationGracePeriodSeconds"]) > limit


def test_items_are_counted_and_not_revisions(connection: psycopg.Connection, count: Count) -> None:
    """Nothing is 0; a thousand of one item are 1, waiting or running; others come to it; what has ended does not."""
    assert count() == 0
    fill(connection, "'hot'", 1000)
    assert count() == 1
    assert claim(connection) == 1
    assert count() == 1, "it runs, and its line waits for it"
    fill(connection, "'item ' || g", 5)
    assert count() == 6
    assert claim(connection, 10) == 5
    assert count() == 6
    connection.execute(
        "SELECT workerpool.dismiss(array_agg(id), 'cancelled', 'x', 'cancelled') FROM workerpool.revisions"
        " WHERE status = 'pending'"
    )
    assert count() == 6, "those that run"


def test_what_cannot_begin_is_not_counted(connection: psycopg.Connection, count: Count) -> None:
    """A halted item, a draft, a scheduled revision and one that backs off need no worker; one that is due does."""
    fill(connection, "'halted'", 3)
    connection.execute("SELECT workerpool.halt('halted', 'a test', 'me')")
    connection.execute("INSERT INTO workerpool.revisions (item_key, status) VALUES ('draft', 'draft')")
    connection.execute("INSERT INTO workerpool.revisions (item_key, run_at) VALUES ('later', now() + interval '1 day')")
    fill(connection, "'again'")
    connection.execute(
        "UPDATE workerpool.revisions SET parked = 'due', run_at = now() + interval '1 day' WHERE item_key = 'again'"
    )
    connection.execute("UPDATE workerpool.revisions SET parked = 'due' WHERE item_key = 'again'")
    assert count() == 0
    connection.execute("UPDATE workerpool.revisions SET run_at = now() - interval '1 second' WHERE item_key = 'again'")
    assert count() == 1
    connection.execute("SELECT workerpool.unhalt('halted', 'me')")
    assert count() == 2


def test_a_paused_pool_needs_only_what_still_runs(connection: psycopg.Connection, count: Count) -> None:
    """While everything, or the head's handler, is paused nothing new is counted; a pause whose time is over is none."""
    fill(connection, "'item ' || g", 4)
    assert claim(connection) == 1
    assert count() == 4
    ask = "SELECT workerpool.pause(%s, 'drain', 'a test', 'me', 'me', %s)"
    connection.execute(ask, ["all", None])
    assert count() == 1
    connection.execute("SELECT workerpool.resume('all', 'me', 'over', 'me')")
    connection.execute(ask, ["handler:default", None])
    assert count() == 1
    connection.execute(ask, ["handler:default", "2000-01-01"])
    assert count() == 4, "whoever would take it away may not be there"


@pytest.mark.parametrize("analyzed", ["before", "after"])
@pytest.mark.parametrize("item", ["'hot'", "'item ' || g"], ids=["one item", "100,000 items"])
def test_a_flood_costs_the_query_little(connection: psycopg.Connection, count: Count, item: str, analyzed: str) -> None:
    """With 100,000 pending it reads pages by the thousand at most, also with statistics from before the flood."""
    if analyzed == "before":
        connection.execute("ANALYZE workerpool.revisions")
    fill(connection, item, 100_000)
    if analyzed == "after":
        connection.execute("VACUUM ANALYZE workerpool.revisions")
    assert count() == (1 if item == "'hot'" else 1000)
    query = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + trigger()["metadata"]["query"]
    ((plan,),) = connection.execute(query.encode()).fetchall()
    top = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 20_000, json.dumps(top)[:4000]
