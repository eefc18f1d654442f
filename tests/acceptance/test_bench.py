"""`workerpool bench`: real daemons on a server of its own, small."""

from pathlib import Path

from tests.acceptance.calling import Run, read


def test_a_small_run_is_verified_and_tells_where_and_on_what(run: Run, tmp_path: Path) -> None:
    """JSON with versions, settings, machine and figures; the same as a file and plots on request."""
    done = read(run("bench", "W1", "W5", "--revisions", "200", "--json", "--output", str(tmp_path / "out")))
    assert set(done["workloads"]) == {"FLOOR", "W1", "W5"}
    assert done["workloads"]["W1"]["verified"] is True
    assert done["workloads"]["W1"]["figures"]["per_second"]["value"] > 0
    assert done["versions"]["postgresql"]
    assert (done["settings"]["fsync"], done["settings"]["synchronous_commit"]) == ("on", "on")
    assert (tmp_path / "out" / "bench.json").exists()


def test_workloads_are_listed_and_a_mistyped_one_is_answered(run: Run) -> None:
    """With the nearest name."""
    assert "a hot item" in run("bench", "--list").stdout
    assert "Did you mean W7?" in run("bench", "W77", code=2).stderr
