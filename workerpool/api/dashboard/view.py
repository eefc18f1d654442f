"""How the pages are made: templates, the words for values, and the policy that a browser is told.

Invariant: every template escapes; a page allows only the scripts that it names with its own nonce.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from workerpool.api.face import Face
from workerpool.api.http.guard import Subject, subject_of
from workerpool.core.wording import length, safe, shorten, size

HERE = Path(__file__).parent
#: A day of a visible file in a browser's memory; its address changes with its content.
KEPT = "public, max-age=86400, immutable"
MODES = {"drain": "Drain", "quiesce": "Quiesce"}


def policy(nonce: str) -> str:
    """Return what a page may load: what this server serves, and the scripts that carry its nonce."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


@cache
def address(name: str) -> str:
    """Return the address of a static file, which changes with its content."""
    mark = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{mark}"


def ago(instant: datetime | str | None) -> Markup:
    """Return how long ago an instant was, with the instant itself for whoever wants it."""
    if instant is None:
        return Markup("")
    at = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    seconds = (datetime.now(UTC) - at).total_seconds()
    told = f"{length(seconds)} ago" if seconds >= 0 else f"in {length(-seconds)}"
    full = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), full, told)


def pretty(value: object) -> str:
    """Return a JSON value as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def counted(number: int, most: int = 10_000) -> str:
    """Return a number with its thousands apart; one that was not counted to its end says so."""
    return f"{most:,}+" if number > most else f"{number:,}"


def badge(pause: dict[str, Any]) -> str:
    """Return the words that say whether workers work."""
    return f"Workers: Paused ({MODES[pause['mode']]})" if pause["paused"] else "Workers: Running"


@cache
def templates() -> Environment:
    """Return the templates."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "ago": ago, "length": length, "size": size, "pretty": pretty, "counted": counted, "safe_text": safe,
        "shorten": shorten, "length_of": len, "part": lambda text: quote(text, safe=""),
    }  # fmt: skip
    found.globals |= {"address": address, "badge": badge}
    return found


def runtime(face: Face, subject: Subject) -> Markup:
    """Return what the page's script must know, as JSON that cannot end its element."""
    brief = face.brief
    known = {
        "events": "/api/events",
        "points": "/ui/points",
        "login": "/login",
        "pollSeconds": brief.poll_interval,
        "pausePollSeconds": brief.pause_poll_interval,
        "heartbeatSeconds": brief.heartbeat,
        "leaseSeconds": brief.lease,
        "chartSeconds": 5,
        "role": subject.role,
    }
    text = json.dumps(known).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704 (what could end the element was taken out above)


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page, with a policy and a nonce of its own."""
    nonce = secrets.token_urlsafe(16)
    subject = subject_of(request)
    may_act = subject is not None and subject.may("operator")
    known = {"nonce": nonce, "subject": subject, "may_act": may_act, "path": request.scope["path"]}
    html = templates().get_template(name).render(**known, **values)
    return HTMLResponse(html, status, {"Content-Security-Policy": policy(nonce), "Vary": "Cookie"})


def fragment(request: Request, name: str, **values: Any) -> HTMLResponse:
    """Return a part of a page."""
    subject = subject_of(request)
    may_act = subject is not None and subject.may("operator")
    html = templates().get_template(f"parts/{name}.html").render(may_act=may_act, subject=subject, **values)
    return HTMLResponse(html, headers={"Content-Security-Policy": policy("none")})


def done(request: Request, told: str, back: str = "/") -> Response:
    """Return what a press is answered: a sentence where the page asked, else the way back to the page."""
    if request.headers.get("hx-request") == "true":
        return fragment(request, "told", told=told, good=True)
    return RedirectResponse(back, 303)


class Static(StaticFiles):
    """The files of the pages, which a browser may keep."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        """Return a file."""
        answer = super().file_response(*args, **named)
        answer.headers["Cache-Control"] = KEPT
        return answer

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or that there is none; notes for those who keep the files are nobody's."""
        return await super().get_response("nothing" if path.endswith(".md") else path, scope)
