"""The page-edit service: what a proposed page must be, how much people may ask for, and the model for a try."""

from __future__ import annotations

import html
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workerpool.rehearsal import Asked

EXAMPLE = Path(__file__).parents[2] / "examples" / "page-edits"
SITES = sorted((EXAMPLE / "site").glob("*.html"))
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kites</title>
<link rel="stylesheet" href="/kites.css">
</head>
<body>
<h1>Kites</h1>
<p id="wind">Fair &amp; warm</p>
<a href="/shop">Shop</a>
<form action="/orders"><button formaction="/gifts">Order</button></form>
<script src="/old.js"></script>
<script>
  const wind = document.getElementById("wind"); fetch("/api/wind").then(told => { wind.textContent = told; });
</script>
<script type="application/ld+json">{"name": "Kites"}</script>
</body>
</html>
"""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the example, as its own programs do."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return importlib.import_module


@pytest.fixture
def checks(example: Any) -> ModuleType:
    """The rules for a page."""
    module: ModuleType = example("page_checks")
    return module


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [PAGE, *(site.read_text(encoding="utf-8") for site in SITES)], ids=range(4))
def test_a_page_that_stays_as_it_is_has_no_findings(checks: ModuleType, page: str) -> None:
    """The rules accept what there is, and an edit of its words."""
    assert checks.findings(page, page) == []
    assert checks.findings(page, page.replace("</body>", "<p>One more</p></body>")) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("<h1>Kites</h1>", "<h1>Kites", "Line 19: <h1> is not closed before </body>."),
        ("</p>", "</section></p>", "Line 11: </section> does not fit: no <section> is open"),
        ("<h1>", "<h1 id=a id=b>", "Line 10: a tag has the same attribute twice."),
        ("<h1>", "<div/><h1>", "<div/> opens <div> and does not close it"),
        ("<h1>", "<table><div>x</div></table><h1>", "<div> stands in a table, but in none of its cells."),
        ("<!DOCTYPE html>\n", "", "<!DOCTYPE html> is missing at the beginning."),
        ("<!DOCTYPE", "Here is your page:\n<!DOCTYPE", "text stands before <!DOCTYPE html>"),
        ("</html>", "</html> I hope you like it.", "text stands after </html>."),
        ("</script>\n</body>\n</html>\n", "", "<script> is never closed."),
        ("Fair", "Fa\0ir", "the HTML is broken (invalid codepoint)."),
        ('<meta name="viewport" content="width=device-width, initial-scale=1">', "", "The viewport is missing"),
        ("width=device-width, initial-scale=1", "initial-scale=1", "The viewport is missing"),
        ("<title>Kites</title>", "<title> </title>", "The page has no title"),
        ("<title>", '<base href="https://elsewhere.example/"><title>', "<base> would send every link"),
        ("<h1>", '<script src="https://cdn.example/x.js"></script><h1>', 'loaded from “https://cdn.example/x.js”'),
        ("<h1>", '<svg><script href="x.js"></script></svg><h1>', 'loaded from “x.js”'),
        ("<h1>", '<script type="module">import "https://cdn.example/y.js"</script><h1>', 'from “https://cdn.exam'),
        ("<h1>", '<link rel="modulepreload" href="/z.js"><h1>', 'loaded from “/z.js”'),
        ('<script src="/old.js"></script>', "", 'The script “/old.js” is gone'),
        ('<script type="application/ld+json">{"name": "Kites"}</script>', "", '“{"name": "Kites"}” is gone'),
        ('; fetch("/api/wind").then(told => { wind.textContent = told; });', "", 'Nothing sends to “/api/wind”'),
        ('document.getElementById("wind"); fetch("/api/wind").then(told => { wind.textContent = told; });', "0; // …",
         "only 20 of 108 characters are left"),
        ('action="/orders"', 'action="/"', 'Nothing sends to “/orders” any more'),
        (' formaction="/gifts"', "", 'Nothing sends to “/gifts” any more'),
        ('<a href="/shop">Shop</a>', "Shop", 'The link to “/shop” is gone'),
        ('<link rel="stylesheet" href="/kites.css">', "", 'The link to “/kites.css” is gone'),
        (' id="wind"', "", 'The element with the id “wind” is gone, and a script looks for it.'),
    ],
)  # fmt: skip
def test_what_an_edit_would_break_is_found(checks: ModuleType, old: str, new: str, finding: str) -> None:
    """Each rule says what is wrong, and where; the sentence is for the agent and for the person alike."""
    assert old in PAGE
    found = checks.findings(PAGE, PAGE.replace(old, new))
    assert any(finding in sentence for sentence in found), found


def test_a_script_may_be_changed(checks: ModuleType) -> None:
    """An edit that is about a script is an edit, as long as the script is still one."""
    assert checks.findings(PAGE, PAGE.replace("wind.textContent = told", "wind.textContent = told + '!'")) == []


def test_what_was_broken_before_is_nobodys_fault(checks: ModuleType) -> None:
    """Only new flaws count, each as often as it is new."""
    flawed = PAGE.replace("<h1>Kites</h1>", "<h1>Kites</h1></b>")
    assert checks.findings(flawed, flawed) == []
    assert len(checks.findings(flawed, flawed.replace("</b>", "</b></b>"))) == 1


def test_an_answer_that_is_no_page_is_refused(checks: ModuleType, tmp_path: Path) -> None:
    """Nothing, too much, and a text that happens to be the name of a file: that is not opened."""
    assert checks.findings(PAGE, " \n") == ["The answer is empty; the whole page is wanted."]
    assert checks.findings(PAGE, PAGE + "x" * 200_000)[0].endswith("at most 200,000 are allowed.")
    assert checks.findings(PAGE, PAGE + "<b>" * 10_000)[0].endswith("tags; at most 10,000 are allowed.")
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    assert checks.findings(PAGE, str(file))[0].startswith("Line 1: text stands before <!DOCTYPE html>")


def test_no_more_findings_than_somebody_reads(checks: ModuleType) -> None:
    """Twelve sentences, the last of which says how many more there would be."""
    found = checks.findings(PAGE, PAGE.replace("</body>", "</b>" * 30 + "</body>"))
    assert len(found) == 12
    assert found[-1] == "There are 19 findings more."


@pytest.mark.parametrize("answer", [PAGE, f"```html\n{PAGE}```", f"\n```\n{PAGE}\n```\n", f"  {PAGE}\n\n"])
def test_a_page_is_found_in_an_answer(example: Any, answer: str) -> None:
    """A code fence around the whole answer is taken away, and nothing else."""
    assert example("page_agent").page_in(answer) == PAGE


def test_findings_go_back_word_by_word(example: Any) -> None:
    """The agent reads each finding, and the rules again."""
    told = example("page_agent").again(["One is gone.", "Two is broken."])
    assert "was refused" in told
    assert "- One is gone.\n- Two is broken." in told
    assert "Keep every script" in told


def test_what_changed_is_shown_line_by_line(example: Any) -> None:
    """Lines that are gone and new, with two lines around them."""
    changes = list(example("page_views").changes(PAGE, PAGE.replace("<h1>Kites</h1>", "<h1>Gales</h1>")))
    assert [line for kind, line in changes if kind in ("gone", "new")] == ["<h1>Kites</h1>", "<h1>Gales</h1>"]
    assert [kind for kind, _ in changes] == ["place", "same", "same", "gone", "new", "same", "same"]


# -- limits ------------------------------------------------------------------------------------------------------------


def test_limits_come_from_the_environment(example: Any) -> None:
    """Each has a default; a value that is none is refused with the variable's name and what is allowed."""
    limits = example("page_limits").Limits
    assert limits.of({}) == limits(1000, 20, 10)
    given = {"PAGE_EDITS_LONGEST_REQUEST": "50", "PAGE_EDITS_PER_DAY": " 3 ", "PAGE_EDITS_COOL_DOWN": "0"}
    assert limits.of(given) == limits(50, 3, 0)
    for value in ("-1", "0", "many", "1.5", "²", "20001"):
        with pytest.raises(ValueError, match=r"PAGE_EDITS_LONGEST_REQUEST='.*': a whole number from 1 to 20000"):
            limits.of({"PAGE_EDITS_LONGEST_REQUEST": value})


def test_a_request_has_words_and_not_too_many(example: Any) -> None:
    """Empty and too long are refused with 422; line ends of forms count once."""
    module = example("page_limits")
    limits = module.Limits(longest_request=10)
    assert limits.wording(" a\r\nb ") == "a\nb"
    assert limits.wording("x" * 10) == "x" * 10
    for text, said in (("x" * 11, "11 characters; at most 10 are allowed"), (" \n", "is empty")):
        with pytest.raises(module.Refused, match=said) as caught:
            limits.wording(text)
        assert (caught.value.status, caught.value.retry_after) == (422, None)


@pytest.mark.parametrize(
    ("ages", "own", "said", "after"),
    [
        ([], None, None, None),
        ([50.0, 40.0], 30.0, None, None),
        ([50.0, 40.0], 29.4, "30 s must pass; the next may come in 1 s", 1),
        ([4.0], 4.0, "the next may come in 26 s", 26),
        ([86_000.0, 50.0, 40.0], None, "has had 3 edits within 24 hours, .* the next may come in 7 min", 400),
        ([86_000.0, 3600.0, 50.0, 40.0], None, "the next may come in 23 h", 82_800),
    ],
)
def test_a_page_has_so_many_edits_a_day_and_a_person_waits(
    example: Any, ages: list[float], own: float | None, said: str | None, after: int | None
) -> None:
    """Beyond a limit it is 429, and the sentence and Retry-After say when the next may come."""
    module = example("page_limits")
    limits = module.Limits(edits_per_day=3, cool_down=30)
    if said is None:
        limits.let("Kites", ages, own)
        return
    with pytest.raises(module.Refused, match=said) as caught:
        limits.let("Kites", ages, own)
    assert caught.value.status == 429
    assert after <= caught.value.retry_after <= after + 1


def test_no_cool_down_is_none(example: Any) -> None:
    """With 0 two requests may come at once."""
    example("page_limits").Limits(cool_down=0).let("Kites", [0.0], 0.0)


# -- the model for a try -----------------------------------------------------------------------------------------------


def asked(request: str, page: str, system: str = "") -> Asked:
    """Return what the model is sent."""
    said = f"The current content:\n<content>\n{page}\n</content>\n\nThe input:\n<input>\n{request}\n</input>\n\nGo."
    messages = [{"role": "system", "content": system}, {"role": "user", "content": said}]
    return Asked({"messages": messages}, 1, {})


def test_the_model_for_a_try_makes_edits_that_add_up(example: Any, checks: ModuleType) -> None:
    """Each answer is the page that it was shown, edited; it passes the rules."""
    model = example("rehearsal_model")
    page = (EXAMPLE / "site" / "bakery.html").read_text(encoding="utf-8")
    for request, shown in (("Make the heading gold.", "color: gold"), ('add a list item "Bun"', "<li>Bun</li>")):
        edited = model.answer(asked(request, page)).text
        assert shown in edited
        assert checks.findings(page, edited) == []
        page = edited
    assert "color: gold" in page


def test_the_model_for_a_try_can_misbehave(example: Any, checks: ModuleType) -> None:
    """It loses the script once, or always; and says what it understands when it does not."""
    model = example("rehearsal_model")
    page = (EXAMPLE / "site" / "choir.html").read_text(encoding="utf-8")
    again = f"{'carelessly make the heading gold'}\n\nYour last answer:\n{page}"
    told = example("page_agent").again(["…"])
    assert checks.findings(page, model.answer(asked("carelessly make the heading gold", page)).text) != []
    assert checks.findings(page, model.answer(asked(again, page, told)).text) == []
    assert checks.findings(page, model.answer(asked("hopelessly make the heading gold", page, told)).text) != []
    refused = model.answer(asked("dance", page))
    assert refused.status == 400
    assert "make the snake blue" in html.unescape(refused.error["message"])
