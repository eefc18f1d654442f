"""The page for handler authors: its code runs, and its test file is the one that our tests run."""

import re
from pathlib import Path

import pytest

from workerpool.handlers import registry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "handlers.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
EXAMPLES = ("shop_handlers.py", "test_shop.py")


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty registry for each block."""
    monkeypatch.setattr(registry, "_HANDLERS", {})
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "testing"))


@pytest.mark.parametrize("block", BLOCKS, ids=[re.sub(r"\W+", " ", each)[-40:] for each in BLOCKS])
def test_each_block_runs(block: str) -> None:
    """As a module of its own; one with handlers registers them."""
    space: dict[str, object] = {"__name__": "docs"}
    exec(compile(block, "docs/handlers.md", "exec", dont_inherit=True), space)
    own = [spec for spec in registry.known().values() if spec.call.__module__ == "docs"]
    assert len(own) == block.count("@handler(")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_shows_the_example(name: str) -> None:
    """What it says of tests is what `tests/process/test_testing.py` runs."""
    assert (ROOT / "examples" / "testing" / name).read_text() in BLOCKS


def test_its_links_lead_somewhere() -> None:
    """To its own headings, and to files that are there."""
    headings = {
        re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^## (.*)$", PAGE, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        assert (ROOT / "docs" / path).exists() if path else anchor in headings
