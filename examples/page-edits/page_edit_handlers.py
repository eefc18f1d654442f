"""The handlers of the service: what the pool runs. `WORKERPOOL_HANDLERS` names this file.

Owns: the steps of an edit. Does not own: order, retries, crashes, progress, cancellation (the pool's), nor the words
(`page_agent`), the rules (`page_checks`) and the tables (`page_store`).

Invariant: a page changes in the transaction in which its edit completes, and in no other. An edit that fails, is
cancelled, or dies with its worker leaves the page as it was.
"""

from __future__ import annotations

import os
from typing import Any

import page_agent
import page_checks
import page_store
from page_limits import Limits, Refused
from page_store import Deployed, Wish

from workerpool import Fail, Job, handler
from workerpool.agents import Answer, ask

STEPS = ("Collect", "Process", "Validate", "Deploy")


@handler("page-edit", timeout="5m", max_attempts=3)
def page_edit(job: Job) -> dict[str, object]:
    """Edit the item's page as the payload's `request` says: Collect, Process, Validate, Deploy."""
    base, request = collect(job)
    answer = process(job, base, request)
    html, answers = validate(job, base, request, answer)
    return deploy(job, base, request, html, answers)


def collect(job: Job) -> tuple[str, str]:
    """Return the page as the edit before left it, and the request. Raises Fail."""
    begin(job, 1, 0)
    request = job.payload.get("request")
    if not isinstance(request, str) or not request.strip():
        raise Fail('The payload has no request: {"request": "make the heading blue", "person": "ada"} is wanted.')
    return content_of(job), request.strip()


def content_of(job: Job) -> str:
    """Return the HTML of the item's current content. Raises Fail."""
    html = job.base.get("output") if isinstance(job.base, dict) else None
    if not isinstance(html, str):
        raise Fail(f"There is no page {job.item_key!r}: the service adds pages, with their content as the original.")
    return html


def process(job: Job, base: str, request: str) -> Answer:
    """Ask the agent for the edited page."""
    begin(job, 2, 10)
    goal = page_agent.goal(name_of(job), request)
    return ask(
        job,
        page_agent.AGENT,
        title=goal,
        instructions=page_agent.RULES,
        content=base,
        input=request,
        between=(10, 60),
        step=STEPS[1],
    )


def validate(job: Job, base: str, request: str, answer: Answer) -> tuple[str, list[Answer]]:
    """Return a page that may be deployed, and every answer: findings go back to the agent once. Raises Fail."""
    begin(job, 3, 60)
    html = page_agent.page_in(answer.output)
    found = page_checks.findings(base, html)
    if not found:
        return html, [answer]
    job.log.warning("The page that the agent proposed was refused and goes back to it", findings=found)
    second = ask(
        job,
        page_agent.AGENT,
        title=page_agent.goal(name_of(job), request),
        instructions=page_agent.again(found),
        content=base,
        input=f"{request}\n\nYour last answer:\n{html}",
        between=(65, 85),
        step="Process again",
    )
    begin(job, 3, 85)
    html = page_agent.page_in(second.output)
    if found := page_checks.findings(base, html):
        raise Fail(f"What the agent proposed was refused twice, the second time because: {' '.join(found)}")
    return html, [answer, second]


def deploy(job: Job, base: str, request: str, html: str, answers: list[Answer]) -> dict[str, object]:
    """Store the version and move the page's pointer to it, in the transaction that completes the revision."""
    begin(job, 4, 90)
    spent = {name: sum(each.metrics[name] for each in answers) for name in answers[0].metrics}
    new = Deployed(
        slug=slug_of(job),
        revision=job.id,
        html=html,
        request=request,
        author=str(job.payload.get("person", "")),
        repaired=len(answers) > 1,
        tokens=spent["tokensUsed"],
    )
    with job.transaction() as connection:
        return put_up(job, connection, base, new, spent)


@handler("page-revert", timeout="1m", max_attempts=3)
def page_revert(job: Job) -> dict[str, object]:
    """Make version `to` of the item's page its content again, as a new version.

    The pool's own handler `revert` would do that to the item alone: the page's pointer is the service's, and must move
    in the same transaction. The content comes from the service's table, which nobody prunes.
    """
    job.checkpoint()
    base, to, slug = content_of(job), job.payload.get("to"), slug_of(job)
    if not isinstance(to, int) or isinstance(to, bool):
        raise Fail(f'The payload must be {{"to": N}}, N the number of a version, not {to!r}.')
    with job.transaction() as connection:
        found = page_store.html_of(connection, slug, to)
        if found is None:
            raise Fail(f"The page {slug!r} has no version {to}.")
        author = str(job.payload.get("person", ""))
        new = Deployed(slug, job.id, found["html"], f"Back to version {to}", kind="revert", author=author)
        return put_up(job, connection, base, new, {})


def put_up(
    job: Job, connection: page_store.Connection, base: str, new: Deployed, spent: dict[str, Any]
) -> dict[str, object]:
    """Store a version as the page's current one and return the revision's result. Raises Fail."""
    current = page_store.html_of(connection, new.slug)
    if current is not None and current["html"] != base:
        job.log.warning("the item's content was changed past the service (`workerpool revert`?); this builds on that")
    try:
        number = page_store.deploy(connection, new)
    except LookupError as error:
        raise Fail(str(error)) from None
    return {"summary": new.request, "output": new.html, "artifacts": [], "metrics": spent, "version": number}


@handler("page-request", timeout="30s", max_attempts=3)
def page_request(job: Job) -> dict[str, object]:
    """Take a request that came by webhook, under the same limits as one by form: it becomes an edit of its page."""
    given = {name: job.payload.get(name) for name in ("page", "person", "request")}
    for name, value in given.items():
        if not isinstance(value, str):
            raise Fail(f"The delivery's {name} is {value!r}; a text is wanted.")
    wish = Wish(given["page"], given["person"], given["request"], source="webhook")  # type: ignore[arg-type]
    if page_store.NAME.fullmatch(wish.person):
        # What is refused is told as well; what is accepted has a notice of its own to come.
        job.then(f"inbox/{wish.person}", "notify", {"person": wish.person, "slug": wish.slug}, on="failed")
    with job.transaction() as connection:
        try:
            edit = page_store.take(connection, wish, Limits.of(os.environ), page_store.enqueued_by_sql(connection))
        except Refused as refused:
            raise Fail(refused.reason) from None
        return {"summary": f"accepted as edit {edit['id']}", "edit": edit["id"], "revision": edit["revision"]}


@handler("notify", timeout="30s", max_attempts=5)
def notify(job: Job) -> dict[str, object]:
    """Tell a person how what they asked for has ended: completed, failed, or cancelled."""
    follows = (job.metadata or {}).get("follows")
    if not isinstance(follows, int):
        raise Fail("A notice follows a revision; this one was enqueued by hand.")
    with job.transaction() as connection:
        return {"summary": page_store.tell(connection, follows, job.payload["person"], job.payload["slug"])}


def begin(job: Job, number: int, percent: float) -> None:
    """Begin step *number* of STEPS: a cancel and a quiesce take effect here."""
    job.checkpoint()
    job.progress(percent, STEPS[number - 1], total_steps=len(STEPS))
    job.log.info(f"Step {number} of {len(STEPS)}: {STEPS[number - 1]}")


def slug_of(job: Job) -> str:
    """Return the page that the item is."""
    return job.item_key.removeprefix(page_store.item_of(""))


def name_of(job: Job) -> str:
    """Return what the page is called."""
    return str(job.payload.get("page") or slug_of(job))
