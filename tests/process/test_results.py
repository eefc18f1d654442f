"""Files of results, through the real daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.process.daemon import Daemon

HANDLERS = Path(__file__).parent / "result_handlers.py"


def test_files_are_kept_by_attempt_and_missing_ones_fail_it(pool: Callable[..., Daemon]) -> None:
    """A result's file is there when the revision is completed; one that is not fails the attempt, by its name."""
    daemon = pool(handlers=HANDLERS, workers=1).start()
    good = daemon.ended(daemon.insert("a", "draw"))
    second = daemon.ended(daemon.insert("b", "draw", {"missing": 1}))
    never = daemon.ended(daemon.insert("c", "draw", {"missing": 2}))
    for row, attempt in ((good, 1), (second, 2)):
        assert row["status"] == "completed", row["error_message"]
        kept = daemon.folder / "home" / "artifacts" / str(row["id"]) / str(attempt) / "made"
        assert row["result"] == {"summary": "drawn", "artifacts": [str(kept)], "metrics": {"requestCount": 1}}
        assert kept.read_text() == f"attempt {attempt}"
    assert (never["status"], never["error_kind"]) == ("failed", "error")
    assert "'missing.png'" in never["error_message"]
    assert any("Retry 1/2" in line and "missing.png" in line for line in daemon.lines(second["id"]))
    assert daemon.stop() == 0
