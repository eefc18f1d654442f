"""docs/faults.md names each fault once, and only tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def test_each_fault_has_one_row() -> None:
    """F01 to F82: none is passed over, none is told twice."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if re.match(r"\| F\d\d", line)]
    named = [name for row in rows for name in re.findall(r"F\d\d", row)]
    assert sorted(named) == [f"F{number:02}" for number in range(1, 83)]


def test_the_tests_that_are_named_are_there() -> None:
    """A row whose test was renamed or taken away promises what nobody checks."""
    found = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(found) > 80
    for path, name in found:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{path} has no {name}"
