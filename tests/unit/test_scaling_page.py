"""docs/scaling.md: its tables name each statement and each function of the schema, classed as their text allows."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORE = ROOT / "workerpool" / "store"
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
STATEMENTS = {path.stem: path.read_text(encoding="utf-8") for path in (STORE / "sql").glob("*.sql")}
#: Tables whose rows belong to items.
OF_ITEMS = re.compile(r"\{schema\}\.(revisions|items|execution_log|continuations|running_revisions|queue_status)\b")


def table(title: str) -> dict[str, list[str]]:
    """The classes and names of the table whose header has *title* in its second column."""
    (text,) = re.findall(rf"^\| *\| {title} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [line.split("|")[1:3] for line in text.splitlines()]
    return {kind.strip(): re.findall(r"`(\w+)`", names) for kind, names in rows}


def functions() -> set[str]:
    """The functions that the migrations make."""
    steps = sorted((STORE / "migrations" / "steps").glob("*/*.sql"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in steps)
    return set(re.findall(r"CREATE (?:OR REPLACE )?FUNCTION \{schema\}\.(\w+)", text))


@pytest.mark.parametrize("title", ["statements", "functions"])
def test_each_is_named_once(title: str) -> None:
    """Every file of store/sql, and every function of the migrations, stands in its table exactly once."""
    named = Counter(name for names in table(title).values() for name in names)
    there = set(STATEMENTS) if title == "statements" else functions()
    assert not {name for name, times in named.items() if times > 1}
    assert there - named.keys() == set(), "not in docs/scaling.md"
    assert named.keys() - there == set(), "in docs/scaling.md, and nowhere else"


def test_what_is_global_touches_no_item() -> None:
    """A statement that is classed as global, or as about the session, names no table whose rows belong to items."""
    classes = table("statements")
    for name in classes["global"] + classes["the session or the server"]:
        text = "\n".join(line for line in STATEMENTS[name].splitlines() if not line.startswith("--"))
        assert not OF_ITEMS.search(text), name


def test_what_names_its_item_asks_for_it() -> None:
    """A statement that is classed as of one item has the item among its parameters."""
    for name in table("statements")["one item, which they name"]:
        assert re.search(r"item|\$1", STATEMENTS[name]), name
