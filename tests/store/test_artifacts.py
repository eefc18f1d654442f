"""Kept files live as long as their revision."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.driving import Session
from workerpool.job.artifacts import Shelf, revisions
from workerpool.keeper.duties import Walk, sweep_artifacts
from workerpool.store.line import Line


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """A keeper's line."""
    line = Line(database, "workerpool", "keeper")
    line.open()
    yield line
    line.close()


def test_files_of_revisions_that_exist_no_more_are_deleted(database: str, line: Line, tmp_path: Path) -> None:
    """In batches, then an hour's rest; what exists keeps its files, whatever its status."""
    (tmp_path / "a").touch()
    with Session(database) as session:
        there = session.insert("x", "y")
    for revision in (*there, *range(1000, 1250)):
        Shelf(tmp_path, revision, 1).keep(tmp_path / "a")
    walk = Walk()
    assert sweep_artifacts(walk, tmp_path, line) == 198
    assert sweep_artifacts(walk, tmp_path, line) == 0, "it rests a second"
    walk.swept_at = 0
    assert sweep_artifacts(walk, tmp_path, line) == 52
    assert revisions(tmp_path) == there
    assert sweep_artifacts(walk, tmp_path, line) == 0


def test_a_home_without_files_is_no_problem(line: Line, tmp_path: Path) -> None:
    """Most homes have none."""
    assert sweep_artifacts(Walk(), tmp_path / "nowhere", line) == 0
