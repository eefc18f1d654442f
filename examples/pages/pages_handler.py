"""The handler of the example: edits a web page as an edit request says in words, without any model.

Owns: what a handler owes its job, step by step. Does not own: what a request may say (`page_edits`), how a page is read
and written (`page_tree`), or the queue, order and retries: workerpool gives it one request of a page at a time and, as
`job.base`, the page as the edit before left it.

Invariant: the same page and the same request always give the same result, and nothing else is touched, so an attempt
may be repeated after a crash.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from page_edits import understand
from page_tree import check, parse, render

from workerpool import Job, handler
from workerpool.core.errors import Fail

STEPS = ("Reading the page", "Understanding the request", "Editing", "Checking", "Done")
STEP_DELAY = float(os.environ.get("PAGES_STEP_DELAY", "0.15"))  # seconds
LONGEST_REQUEST = 1000  # characters


@handler("default")
def edit_page(job: Job) -> dict[str, object]:
    """Edit the item's page as `payload.edit_request` says; the result is what the item's next edit builds on."""
    begin_step(job, 0)
    request = wanted(job.payload)
    html, applied = current_page(job.base, job.payload)
    begin_step(job, 1)
    rule, said = understand(request)
    begin_step(job, 2)
    page = parse(html)
    summary = rule.apply(page, said)
    begin_step(job, 3)
    output = render(page)
    check(parse(html), parse(output))
    job.log.info(summary, rule=rule.example, characters=len(output))
    begin_step(job, 4)
    return {
        "summary": summary,
        "output": output,
        "artifacts": [],
        "metrics": {"charactersBefore": len(html), "charactersAfter": len(output)},
        "applied": [*applied, request],
    }


def begin_step(job: Job, index: int) -> None:
    """Report step `index` of STEPS; a cancel takes effect here. The short wait gives a live view something to show."""
    job.checkpoint()
    job.progress(100 * (index + 1) / len(STEPS), STEPS[index], total_steps=len(STEPS))
    if index + 1 < len(STEPS):
        time.sleep(STEP_DELAY)


def wanted(payload: Mapping[str, object]) -> str:
    """Return the request of a payload, with straight quotes and without what carries no meaning. Raises Fail."""
    request = payload.get("edit_request")
    if not isinstance(request, str) or not request.strip():
        raise Fail('The payload needs an "edit_request": a sentence such as "make the heading blue".')
    if len(request) > LONGEST_REQUEST:
        raise Fail(
            f"The request has {len(request)} characters; {LONGEST_REQUEST} are allowed. Ask for one edit at a time."
        )
    straight = " ".join(request.translate(str.maketrans("“”„", '"""')).split())
    return straight.rstrip(".!").removeprefix("Please ").removeprefix("please ")


def current_page(base: object, payload: Mapping[str, object]) -> tuple[str, list[str]]:
    """Return the HTML to edit and the requests already in it.

    The result of the edit before (`output`) comes first, then the item's original (`html`), then a page that came with
    this very request (`html_content`). Raises Fail when there is none.
    """
    known = base if isinstance(base, Mapping) else {}
    applied = known.get("applied") or []
    for html in (known.get("output"), known.get("html"), payload.get("html_content")):
        if isinstance(html, str) and html.strip():
            return html, [str(request) for request in applied]
    raise Fail('There is no page to edit yet: send its HTML as "html_content" with the first request for it.')
