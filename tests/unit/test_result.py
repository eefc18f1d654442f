"""Results of the seed system's shape, and the files that attempts keep."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.job.artifacts import BadArtifact, Shelf, discard, revisions
from workerpool.job.result import ArtifactMissing, TaskResult, checked


def test_a_task_result_is_json_as_it_is(tmp_path: Path) -> None:
    """Whoever reads the table finds the names of the seed system."""
    page = tmp_path / "page.html"
    page.touch()
    result = TaskResult(
        summary="one page", output={"a": 1}, artifacts=[page], metrics={"tokensUsed": 3, "executionTime": 0.5}
    )
    assert json.loads(json.dumps(checked(result))) == {
        "summary": "one page",
        "output": {"a": 1},
        "artifacts": [str(page)],
        "metrics": {"tokensUsed": 3, "executionTime": 0.5},
    }


@pytest.mark.parametrize("missing", ["nowhere.html", "", "a\0b", "x" * 5000])
def test_a_missing_artifact_is_named(tmp_path: Path, missing: str) -> None:
    """Of several, the one that is not there."""
    with pytest.raises(ArtifactMissing) as caught:
        checked({"artifacts": [str(tmp_path), missing]})
    assert caught.value.missing == (missing,)
    assert repr(missing) in str(caught.value)


@pytest.mark.parametrize(
    "result", [None, 3, "artifacts", [], {}, {"artifacts": None}, {"artifacts": {"a": 1}}, {"artifacts": [{"url": 1}]}]
)
def test_any_other_json_is_left_alone(result: object) -> None:
    """A handler's own JSON stays as it is, even where it uses the name for something else."""
    assert checked(result) is result


def test_a_kept_file_is_private_and_whole(tmp_path: Path) -> None:
    """0700 and 0600, in the folder of revision and attempt, under its own or a given name."""
    source = tmp_path / "made.txt"
    source.write_bytes(b"text" * 500_000)
    source.chmod(0o644)
    shelf = Shelf(tmp_path / "home", 17, 2)
    kept = [Path(shelf.keep(source)), Path(shelf.keep(str(source), "other"))]
    folder = tmp_path / "home" / "artifacts" / "17" / "2"
    assert kept == [folder / "made.txt", folder / "other"]
    assert all(path.read_bytes() == source.read_bytes() for path in kept)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert {stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent, folder.parent.parent)} == {0o700}


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    """Nothing that was kept is replaced."""
    (tmp_path / "a").write_text("first")
    (tmp_path / "b").write_text("second")
    shelf = Shelf(tmp_path, 1, 1)
    kept = Path(shelf.keep(tmp_path / "a"))
    with pytest.raises(BadArtifact, match="keeps an artifact 'a' already"):
        shelf.keep(tmp_path / "b", "a")
    assert kept.read_text() == "first"


def test_an_attempt_that_was_not_counted_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    """A snoozed attempt has the same number again."""
    (tmp_path / "a").write_text("new")
    old = Shelf(tmp_path, 1, 1)
    old.keep(tmp_path / "a", "old")
    old.keep(tmp_path / "a")
    assert Path(Shelf(tmp_path, 1, 1).keep(tmp_path / "a")).parent == tmp_path / "artifacts" / "1" / "1"
    assert os.listdir(tmp_path / "artifacts" / "1" / "1") == ["a"]


@given(st.text(st.characters(codec=None), max_size=300) | st.sampled_from(["..", ".", "../x", "/etc/x", "a/b", "a\0"]))
def test_no_name_escapes(name: str) -> None:
    """What is kept lies in the attempt's folder, whatever it is called; every other name is refused."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source = home / "source"
        source.touch()
        try:
            kept = Path(Shelf(home, 1, 1).keep(source, name))
        except BadArtifact:
            assert not (home / "artifacts").exists()
            return
        assert kept.parent == home / "artifacts" / "1" / "1"
        assert kept.resolve() == kept
        assert os.listdir(kept.parent) == [name]


def test_only_files_are_kept(tmp_path: Path) -> None:
    """A pipe would be waited for, a folder is no file, and what is missing is named."""
    os.mkfifo(tmp_path / "pipe")
    shelf = Shelf(tmp_path, 1, 1)
    for each in ("pipe", "."):
        with pytest.raises(BadArtifact, match="no plain file"):
            shelf.keep(tmp_path / each, "name")
    with pytest.raises(BadArtifact, match="does not exist"):
        shelf.keep(tmp_path / "nowhere")
    assert revisions(tmp_path) == []


def test_a_discarded_revision_leaves_no_folder(tmp_path: Path) -> None:
    """Its attempts go with it, the others stay, and what is no revision's is left alone."""
    (tmp_path / "a").touch()
    for revision, attempt in ((9, 1), (9, 2), (10, 1)):
        Shelf(tmp_path, revision, attempt).keep(tmp_path / "a")
    (tmp_path / "artifacts" / "notes").mkdir()
    assert revisions(tmp_path) == [9, 10]
    assert discard(tmp_path, 9)
    assert sorted(os.listdir(tmp_path / "artifacts")) == ["10", "notes"]
