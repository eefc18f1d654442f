"""`workerpool bench` as people and scripts call it; its figures are nobody's promise here, its form is."""

import json
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import psutil
import psycopg
import pytest

from tests.acceptance.calling import LIMIT, Run, environment, read, until, workerpool
from tests.conftest import Databases


def _bench(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        workerpool("bench", *words), env=environment(), cwd=folder, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def _databases(server: Databases) -> list[tuple[str]]:
    with psycopg.connect(server.admin) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'workerpool_bench_%'")
        return found.fetchall()


def test_a_small_run_says_what_was_measured_and_on_what(server: Databases, tmp_path: Path) -> None:
    """Figures with units, ratios to the floor, versions, settings, sizes and date; the same in the file; plots that are
    SVG; and no database of the benchmark is left on the server.
    """
    words = ("W1", "W5", "--revisions", "200", "--database-url", server.admin, "--json", "--output", "out")
    found = read(_bench(tmp_path, *words))
    assert found["versions"].keys() >= {"workerpool", "postgresql", "python", "kernel"}
    assert found["settings"].keys() >= {"fsync", "synchronous_commit", "shared_buffers"}
    assert found["machine"]["cpus"] >= 1
    assert found["sizes"]["revisions"] == 200
    assert found["date"]
    independent = found["workloads"]["W1"]["figures"]
    assert independent["per_second"]["value"] > 0
    assert independent["per_second"]["unit"] == "/s"
    assert independent["wal_bytes_per_revision"]["value"] > 100
    assert independent["commits_per_revision"]["value"] > 0
    # (not that it is more than 0: on a busy machine a handler may begin before its enqueuer hears of the commit)
    response = found["workloads"]["W5"]["figures"]
    assert response["p50_ms"]["value"] <= response["max_ms"]["value"]
    assert json.loads((tmp_path / "out" / "bench.json").read_text()) == found
    if "FLOOR" in found["workloads"] and found["workloads"]["FLOOR"]["figures"]:
        assert [ratio["value"] > 0 for ratio in independent["per_second"]["ratios"]] == [True, True]
        ElementTree.parse(tmp_path / "out" / "ratios.svg")
    assert _databases(server) == []


def test_killed_workers_change_nothing_that_is_verified(tmp_path: Path) -> None:
    """On a server of its own, where every commit is durable, with workers killed at random: the queue is emptied, each
    revision completed once and in order.
    """
    found = read(_bench(tmp_path, "W2", "--kill", "--revisions", "3000", "--json"))
    assert found["kills"] > 0
    assert found["workloads"]["W2"]["verified"] is True
    assert found["workloads"]["W2"]["figures"]["per_second"]["value"] > 0
    assert (found["settings"]["fsync"], found["settings"]["synchronous_commit"]) == ("on", "on")


def test_the_list_says_what_each_workload_is(tmp_path: Path) -> None:
    """A sentence for each, with the sizes that would be used."""
    told = read(_bench(tmp_path, "--list", "--json"))
    assert told["W1"] == "20,000 independent revisions that do nothing"
    assert "{" not in "".join(told.values())
    assert read(_bench(tmp_path, "w1", "--list", "--json", "--revisions", "500"))["W1"].startswith("500 ")


def test_a_mistyped_workload_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """Exit 2, and nothing is measured."""
    assert "Did you mean W1?" in _bench(tmp_path, "W11", code=2).stderr
    assert "Did you mean PRIORITY?" in _bench(tmp_path, "priorities", code=2).stderr
    assert "W1, W2, W3 only" in _bench(tmp_path, "W5", "--kill", code=2).stderr


def test_a_role_that_may_not_create_databases_is_told_so(run: Run, server: Databases, database: str) -> None:
    """Exit 78 with the statement that would allow it, before anything is made."""
    if server.admin == server.plain:
        pytest.skip("the given server's role may create databases")
    done = run("bench", "W1", "--database-url", database, code=78)
    assert "may not create databases" in done.stderr
    assert "CREATEDB" in done.stderr


def test_a_short_soak_finds_nothing_that_grows_in_number(server: Databases, tmp_path: Path) -> None:
    """Half of the load for some seconds, with retention on: all ran once and in order, what was over its retention
    went, and no process holds more descriptors at the end.
    """
    words = ("SOAK", "--quick", "--minutes", "0.35", "--revisions", "2000", "--database-url", server.admin)
    found = read(_bench(tmp_path, *words, "--json", "--output", "out"))["workloads"]["SOAK"]
    figures = {name: figure["value"] for name, figure in found["figures"].items()}
    assert found["verified"] is True
    assert figures["enqueued"] == figures["pruned"] + figures["left"]
    assert figures["left"] < figures["enqueued"] / 2
    assert figures["replaced_processes"] == 0
    series = found["series"]
    assert [series[f"{process}_descriptors"]["flat"] for process in ("manager", "keeper", "worker")] == [True] * 3
    assert series.keys() >= {
        "table_mb",
        "indexes_mb",
        "dead_rows",
        "oldest_row_seconds",
        "p99_ms",
        "queue",
        "worker_mb",
    }
    for name, each in series.items():
        assert each.keys() >= {"median", "per_hour", "error_per_hour", "percent_per_hour", "flat"}, name
        assert len(each["samples"]) > 10, name
        ElementTree.parse(tmp_path / "out" / f"soak-{name}.svg")


def test_what_is_performed_on_demand_only_is_listed_all_the_same(tmp_path: Path) -> None:
    """With the length that it would have."""
    told = read(_bench(tmp_path, "SOAK", "--minutes", "5", "--list", "--json"))
    assert told == {"SOAK": "half of the full load for 5 minutes, with retention on"}
    assert "for 60 minutes" in read(_bench(tmp_path, "--list", "--json"))["SOAK"]


def test_a_soak_that_is_interrupted_leaves_nothing_behind(server: Databases, tmp_path: Path) -> None:
    """TERM in the middle of the load: no process of the pool, no database and no folder of it stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    words = ("SOAK", "--quick", "--revisions", "400", "--database-url", server.admin)
    bench = subprocess.Popen(workerpool("bench", *words), env=environment(TMPDIR=str(folder)), cwd=tmp_path)
    try:
        parent = psutil.Process(bench.pid)
        # The first pool drains the queue; a record in the second folder is the load's.
        until(lambda: len([path for path in folder.glob("*/record-*") if any(path.iterdir())]) == 2)
        family = parent.children(recursive=True)
        assert len(family) >= 4
        bench.send_signal(signal.SIGTERM)
        assert bench.wait(LIMIT) == 143
    finally:
        bench.kill()
        bench.wait()
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert _databases(server) == []
    assert list(folder.iterdir()) == []


def test_the_length_of_a_soak_is_asked_for_with_a_soak(tmp_path: Path) -> None:
    """Exit 2, with the words that would do."""
    assert "bench SOAK --minutes" in _bench(tmp_path, "W1", "--minutes", "5", code=2).stderr
