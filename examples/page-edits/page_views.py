"""How things look: templates, times, differences, and the headers that keep people's pages apart from the service.

Owns: the forms of answers. Does not own: which answer is given (`page_service`).

Invariant: HTML that people and models wrote leaves here only by `hosted`, inside of a sandbox that has no part in the
service's origin; everywhere else it is text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader
from page_limits import Refused, spell
from page_setup import HERE
from page_store import Row

#: Of the service's own pages: nothing from elsewhere, no script or style in the markup.
OWN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Of the pages that people have edited. `sandbox` without allow-same-origin gives them an origin of their own: their
#: scripts see no cookie and no page of the service. They load no script from anywhere, whatever an edit wrote.
HOSTED_POLICY = (
    "sandbox allow-scripts allow-forms allow-popups; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: https:; font-src data:; connect-src https:; form-action https:; "
    "base-uri 'none'; frame-ancestors 'self'"
)
OWN_HEADERS = {
    "Content-Security-Policy": OWN_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATES = {
    "draft": "draft",
    "scheduled": "waits",
    "pending": "waits",
    "processing": "runs",
    "completed": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "unknown": "ended long ago",
}


def _when(instant: datetime) -> str:
    return instant.astimezone().strftime("%-d %b, %H:%M")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


_TEMPLATES = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True)
_TEMPLATES.filters |= {"when": _when, "spell": spell, "sentence": _sentence}
_TEMPLATES.globals["STATES"] = STATES


def page(template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> HTMLResponse:
    """Return a page of the service."""
    html = _TEMPLATES.get_template(template).render(values)
    return HTMLResponse(html, status, {**OWN_HEADERS, **(headers or {})})


def hosted(request: Request, version: Row) -> Response:
    """Return a page that people have edited, as it is, in its sandbox."""
    tag = f'"{version["slug"]}-{version["number"]}"'
    headers = {"Content-Security-Policy": HOSTED_POLICY, "X-Content-Type-Options": "nosniff", "ETag": tag}
    headers |= {"Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(version["html"], headers=headers)


def check_origin(request: Request) -> None:
    """Raise Refused (403) for a request that changes something and comes from another site: a hosted page, say."""
    if request.method in ("GET", "HEAD"):
        return
    own = f"{request.url.scheme}://{request.headers.get('host')}"
    if (
        request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
        or request.headers.get("origin", own) != own
    ):
        raise Refused(
            403, "This was sent from another site, or from a page in its sandbox; use the service's own form."
        )


def changes(before: str, after: str) -> Iterator[tuple[str, str]]:
    """Yield what changed between two contents: (kind, line), kind `gone`, `new`, `same` or `place`."""
    kinds = {"-": "gone", "+": "new", " ": "same", "@": "place"}
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm="")
    for number, line in enumerate(lines):
        if number >= 2:  # (the first two name the files)
            yield kinds.get(line[:1], "same"), line if line.startswith("@") else line[1:]
