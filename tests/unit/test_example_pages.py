"""The example: its handler really edits pages, each edit on the one before, and its files agree with each other."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workerpool.core.errors import Fail

EXAMPLE = Path(__file__).parents[2] / "examples" / "pages"
PAGES = sorted((EXAMPLE / "site").glob("*.html"))
HTML = """<!DOCTYPE html>
<html lang="en">
<head><title>Kites</title><style>:root { --kite: red; --wind: blue }
h1 { font-size: 40px; }
.low { font-size: clamp(1rem, 2vw, 2rem) }</style></head>
<body>
  <!-- Kites -->
  <h1>Kites</h1>
  <p class="low" id="lead" style="color: black; margin: 0">Fly &amp; <b>land</b></p>
  <p>Fair
    wind</p>
  <ul><li id="first"><input type="checkbox" checked> <span>String</span> <i>long</i></li></ul>
  <button class="big">Fly</button>
  <button class="big">Land</button>
<script>if (1 < 2 && "Kites") document.getElementById("lead");</script>
</body>
</html>
"""


@dataclass
class FakeLog:
    """Keeps what a handler logs."""

    lines: list[str] = field(default_factory=list)

    def info(self, message: str, **data: object) -> None:
        self.lines.append(message)


@dataclass
class FakeJob:
    """As much of a job as the example's handler holds."""

    payload: dict[str, Any]
    base: object = None
    log: FakeLog = field(default_factory=FakeLog)
    steps: list[tuple[float, str | None, int | None]] = field(default_factory=list)
    checkpoints: int = 0
    cancelled_at: int | None = None

    def progress(self, percent: float, step: str | None = None, *, total_steps: int | None = None) -> None:
        self.steps.append((percent, step, total_steps))

    def checkpoint(self) -> None:
        self.checkpoints += 1
        if self.checkpoints == self.cancelled_at:
            raise InterruptedError


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example's handler module, imported as a worker imports it."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    if "pages_handler" not in sys.modules:
        __import__("pages_handler")
    module = sys.modules["pages_handler"]
    monkeypatch.setattr(module, "STEP_DELAY", 0)
    return module


def edit(example: ModuleType, request: str, base: object = None) -> dict[str, Any]:
    """Return the result of one request on HTML, or on `base`."""
    result: dict[str, Any] = example.edit_page(FakeJob({"edit_request": request}, base or {"html": HTML}))
    return result


def changed(result: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the lines of HTML that a result no longer has, and those that it has instead."""
    before, after = HTML.splitlines(), result["output"].splitlines()
    return [line.strip() for line in before if line not in after], [
        line.strip() for line in after if line not in before
    ]


def pending() -> list[dict[str, Any]]:
    """Return the example's edit requests."""
    edits: list[dict[str, Any]] = json.loads((EXAMPLE / "pending-edits.json").read_text(encoding="utf-8"))
    return edits


def play(example: ModuleType, edits: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each page's current content after `edits`, in the manner of the pool: one after the other per page."""
    current: dict[str, dict[str, Any]] = {}
    for request in edits:
        key = request["app_slug"]
        base = current.setdefault(key, {"html": request.get("html_content")})
        payload = {name: value for name, value in request.items() if name != "html_content"}
        current[key] = example.edit_page(FakeJob(payload, base))
    return current


def test_every_pending_edit_works_and_stacks(example: ModuleType) -> None:
    """All edits of the example succeed, and a page's last result names every edit of the page in order."""
    current = play(example, pending())
    assert len(current) == 5
    for key, content in current.items():
        assert content["applied"] == [e["edit_request"] for e in pending() if e["app_slug"] == key]
    snake = current["snake"]["output"]
    assert "--snake: green;" in snake
    assert ">New game</button>" in snake
    assert "Play again" not in snake
    assert "Water the plants, and the cactus too" in current["todo"]["output"]


def test_pages_do_not_depend_on_each_other(example: ModuleType) -> None:
    """The edits of different pages may run in any order: each page ends the same."""
    assert play(example, sorted(pending(), key=lambda request: str(request["app_slug"]))) == play(example, pending())


def test_pending_edits_carry_the_pages_of_the_folder() -> None:
    """`html_content` is the file in `site/`, at the first request for the page and nowhere else."""
    first: dict[str, dict[str, Any]] = {}
    for request in pending():
        assert ("html_content" in request) == (request["app_slug"] not in first)
        first.setdefault(request["app_slug"], request)
    assert sorted(first) == [page.stem for page in PAGES]
    for page in PAGES:
        assert first[page.stem]["html_content"] == page.read_text(encoding="utf-8"), f"copy {page} into the JSON again"


@pytest.mark.parametrize("html", [HTML, *(page.read_text(encoding="utf-8") for page in PAGES)], ids=range(6))
def test_a_page_survives_reading_and_writing_letter_by_letter(example: ModuleType, html: str) -> None:
    """What an edit does not ask for does not change: not even white space, quotes, order of attributes, or entities."""
    tree = sys.modules["page_tree"]
    assert tree.render(tree.parse(html)) == html


@pytest.mark.parametrize(
    ("request_", "gone", "new"),
    [
        ("make the kite dark green", "{ --kite: red; --wind: blue }", "{ --kite: darkgreen; --wind: blue }"),
        ("set the wind to #1a2B3c", "--wind: blue }", "--wind: #1a2b3c}"),
        ("make the heading gold", "<h1>", '<h1 style="color: gold">'),
        ("Please make the page ivory.", "<body>", '<body style="background: ivory">'),
        ("set the colour of the lead to red", 'style="color: black; margin: 0"', 'style="margin: 0; color: red"'),
        ('paint the button "Fly" teal', '<button class="big">Fly', '<button class="big" style="background: teal">Fly'),
        ("paint the background of the heading pink", "<h1>", '<h1 style="background: pink">'),
        ("make the heading bigger", "<h1>", '<h1 style="font-size: 50px">'),
        ("make the #lead smaller", "margin: 0", "margin: 0; font-size: calc(clamp(1rem, 2vw, 2rem) * 0.8)"),
        ("set the font size of the heading to 3 rem", "<h1>", '<h1 style="font-size: 3rem">'),
        ('rename the title to "A <b> & c"', "<h1>Kites</h1>", "<h1>A &lt;b&gt; &amp; c</h1>"),
        ('change “Fair wind” to "No wind"', "<p>Fair", "<p>No wind</p>"),
        ("replace 'land' with 'don't'", "<b>land</b>", "<b>don't</b>"),
        ('rename the button "Land" to "Crash"', ">Land</button>", ">Crash</button>"),
        ('set the heading to "Hello"', "<h1>Kites</h1>", "<h1>Hello</h1>"),
        ('remove the button "Land"', '<button class="big">Land</button>', ""),
    ],
)
def test_an_edit_does_what_it_says(example: ModuleType, request_: str, gone: str, new: str) -> None:
    """Each kind of request changes what it names, and the lines around it stay."""
    old_lines, new_lines = changed(edit(example, request_))
    assert gone in "\n".join(old_lines)
    assert new in "\n".join(new_lines)
    assert len(old_lines) <= 2
    assert len(new_lines) <= 2


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ('add a button labelled "Loop"', 'Land</button>\n  <button type="button" class="big">Loop</button>\n'),
        ('add a paragraph saying "1 < 2"', "wind</p>\n  <p>1 &lt; 2</p>\n"),
        ('add a list item "Tail"', '</li><li><input type="checkbox"> <span>Tail</span> <i></i></li></ul>'),
    ],
)
def test_something_new_takes_the_form_of_what_is_there(example: ModuleType, request_: str, place: str) -> None:
    """A new button, paragraph or item stands behind the last one and looks like it; its text is text, never markup."""
    assert place in edit(example, request_)["output"]


def test_edits_add_up(example: ModuleType) -> None:
    """A result is the base of the next edit: twice bigger is bigger than once."""
    once = edit(example, "make the heading bigger")
    twice = edit(example, "make the heading bigger", once)
    assert "font-size: 50px" in once["output"]
    assert "font-size: 62.5px" in twice["output"]
    assert twice["applied"] == ["make the heading bigger"] * 2


def test_the_same_edit_again_gives_the_same_result(example: ModuleType) -> None:
    """An attempt that is repeated after a crash ends in the very same result."""
    assert edit(example, 'add a button "Loop"') == edit(example, 'add a button "Loop"')


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ("dance", 'add a button labelled "Play again"'),
        ("make the heading happy", "cornflowerblue"),
        ("make the dragon red", "(here: lead, first)"),
        ('change "Rain" to "Sun"', 'does not say "Rain"'),
        ('rename the heading "Rain" to "Sun"', "in any heading"),
        ("remove the button", '"Fly", "Land"'),
        ("remove the lead", 'needs the element "lead"'),
        ("remove the page", "whole page"),
        ("remove the script", "has no script"),
        ('set the lead to "x"', "parts of its own"),
        ('rename the title to " "', "without a title"),
        ("make the heading " + "very " * 200 + "big", "1000 are allowed"),
    ],
)
def test_what_cannot_be_done_fails_with_a_sentence_that_helps(example: ModuleType, request_: str, reason: str) -> None:
    """A request that is not understood, or does not fit the page, is a Fail that says what there is."""
    with pytest.raises(Fail) as caught:
        edit(example, request_)
    assert reason in str(caught.value)


@pytest.mark.parametrize("payload", [{}, {"edit_request": ""}, {"edit_request": 7}])
def test_a_payload_without_a_request_fails(example: ModuleType, payload: dict[str, Any]) -> None:
    """A payload without a sentence is a Fail that shows one."""
    with pytest.raises(Fail, match="edit_request"):
        example.edit_page(FakeJob(payload, {"html": HTML}))


@pytest.mark.parametrize("base", [None, {}, {"output": ""}, "text", 3])
def test_a_page_may_come_with_its_first_request(example: ModuleType, base: object) -> None:
    """An item without content takes the page from the payload; without one there either, it is a Fail that says so."""
    request = {"edit_request": "make the kite blue"}
    assert "--kite: blue" in example.edit_page(FakeJob({**request, "html_content": HTML}, base))["output"]
    with pytest.raises(Fail, match="html_content"):
        example.edit_page(FakeJob(request, base))


def test_content_comes_before_a_page_in_the_payload(example: ModuleType) -> None:
    """A page that is sent again does not undo the edits that the item already has."""
    base = edit(example, "make the kite blue")
    job = FakeJob({"edit_request": "make the wind grey", "html_content": HTML}, base)
    assert "--kite: blue; --wind: grey" in example.edit_page(job)["output"]


def test_an_edit_reports_its_steps_and_can_be_cancelled_between_them(example: ModuleType) -> None:
    """Five steps up to 100 percent, each behind a checkpoint."""
    job = FakeJob({"edit_request": "make the kite blue"}, {"html": HTML})
    result = example.edit_page(job)
    assert job.steps == [(20.0 * (n + 1), step, 5) for n, step in enumerate(example.STEPS)]
    assert job.log.lines == [result["summary"]]
    stopped = FakeJob({"edit_request": "make the kite blue"}, {"html": HTML}, cancelled_at=3)
    with pytest.raises(InterruptedError):
        example.edit_page(stopped)
    assert len(stopped.steps) == 2


def test_a_result_has_the_form_of_the_contract(example: ModuleType) -> None:
    """Summary, output, artifacts and metrics, all of them JSON."""
    result = edit(example, "make the kite blue")
    assert set(result) == {"summary", "output", "artifacts", "metrics", "applied"}
    assert json.loads(json.dumps(result)) == result


def test_finished_pages_are_written_inside_their_folder(example: ModuleType, tmp_path: Path) -> None:
    """One file per page under a safe name, and an index with every edit as text."""
    writer = __import__("demo_pages")
    finished = {
        "kites": edit(example, 'change "land" to "<dive>"'),
        "../kites": {"html": HTML},
        "index": {"html": HTML},
        "../..": {"html": HTML},
    }
    files = writer.write_pages(finished, tmp_path / "out")
    assert sorted(path.name for path in files) == [
        "index-2.html",
        "index.html",
        "kites-2.html",
        "kites.html",
        "page.html",
    ]
    assert files[-1].name == "index.html"
    assert all(path.parent == tmp_path / "out" and path.is_file() for path in files)
    assert "change &quot;land&quot; to &quot;&lt;dive&gt;&quot;" in files[-1].read_text(encoding="utf-8")
