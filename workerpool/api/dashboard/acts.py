"""What people press: everything that changes something, and who they are.

Invariant: nothing here is a GET; whatever is refused is told in a sentence on the page, and has changed nothing.
"""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import RedirectResponse, Response

from workerpool.api.dashboard import view
from workerpool.api.http.gate import Gate
from workerpool.api.http.guard import COOKIE, SESSION, Guard, Operator, Stands
from workerpool.api.http.items import Key
from workerpool.api.http.models.base import Mode
from workerpool.api.service import items, pool, revisions
from workerpool.api.service.refusals import NotValid
from workerpool.core.wording import safe

router = APIRouter(include_in_schema=False)
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Text = Annotated[str, Form(max_length=2_000)]


@router.get("/login")
def ask(request: Request) -> Response:
    """Ask who somebody is."""
    guard: Guard = request.app.state.guard
    return view.page(request, "login.html", told="", is_open=guard.is_open)


@router.post("/login")
async def log_in(request: Request, token: Annotated[str, Form(max_length=500)] = "") -> Response:
    """Let a browser in for some hours."""
    guard: Guard = request.app.state.guard
    cookie = await anyio.to_thread.run_sync(guard.log_in, token.strip())
    if cookie is None:
        Gate.mistake(request)
        told = "This token is not known, or it may not look at the dashboard."
        return view.page(request, "login.html", 401, told=told, is_open=guard.is_open)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, cookie, max_age=SESSION, httponly=True, samesite="strict", secure=secure, path="/")
    return answer


@router.post("/logout")
def log_out() -> Response:
    """Forget a browser."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


@router.post("/ui/pause")
def pause(request: Request, face: Stands, who: Operator, mode: Annotated[Mode, Form()], reason: Text = "") -> Response:
    """Start nothing more."""
    if not reason.strip():
        raise NotValid("a pause needs a reason, which everybody who waits for it will read")
    with face.session() as session:
        pool.pause(session, mode, reason.strip(), who.name)
    face.watch.soon()
    return view.done(request, f"Paused ({view.MODES[mode]}).")


@router.post("/ui/resume")
def resume(
    request: Request,
    face: Stands,
    who: Operator,
    holder: Annotated[str, Form(max_length=300)] = "",
    scope: Annotated[str, Form(max_length=600)] = "",
    reason: Text = "",
) -> Response:
    """Take a pause away: that of a holder, else one's own."""
    with face.session() as session:
        lifted = pool.resume(session, reason, who.name, holder=holder or None, scope=scope or None)
    face.watch.soon()
    return view.done(request, "Taken away." if lifted else "Nothing is paused.")


@router.post("/ui/revisions/{id}/cancel")
def cancel(request: Request, id: Id, face: Stands, who: Operator, reason: Text = "") -> Response:
    """End a revision, or ask it to end."""
    with face.session() as session:
        answer = revisions.cancel(session, id, who.name, reason)
    return _told(request, face, answer, f"/revisions/{id}")


@router.post("/ui/revisions/{id}/retry")
def retry(request: Request, id: Id, face: Stands, who: Operator, append: Annotated[bool, Form()] = False) -> Response:
    """Let a revision run again, or add a copy of it."""
    with face.session() as session:
        answer = revisions.retry(session, id, who.name, append=append)
    return _told(request, face, answer, f"/revisions/{id}")


@router.post("/ui/revisions/{id}/queue")
def queue(request: Request, id: Id, face: Stands, who: Operator) -> Response:
    """Let a draft take part."""
    with face.session() as session:
        answer = revisions.queue(session, id, who.name)
    return _told(request, face, answer, f"/revisions/{id}")


@router.post("/ui/items/{key}/halt")
def halt(request: Request, key: Key, face: Stands, who: Operator, reason: Text = "") -> Response:
    """Start nothing of an item."""
    with face.session() as session:
        items.halt(session, key, reason.strip() or "halted on the dashboard", who.name)
    face.watch.soon()
    return view.done(request, f"{safe(key)} is halted.", _page_of(key))


@router.post("/ui/items/{key}/unhalt")
def unhalt(request: Request, key: Key, face: Stands, who: Operator) -> Response:
    """Let an item go on."""
    with face.session() as session:
        items.unhalt(session, key, who.name)
    face.watch.soon()
    return view.done(request, f"{safe(key)} goes on.", _page_of(key))


@router.post("/ui/items/{key}/revert")
def revert(
    request: Request, key: Key, face: Stands, who: Operator, to: Annotated[int, Form(ge=0, le=2**31 - 1)]
) -> Response:
    """Add a revision that gives an item the content of a number of its history."""
    with face.session() as session:
        revision = items.revert(session, key, to, who.name)
    face.watch.soon()
    return view.done(request, f"Revision {revision} will revert it to {to}.", _page_of(key))


def _told(request: Request, face: Stands, answer: revisions.Answer, back: str) -> Response:
    face.watch.soon()
    sentence = revisions.sentence(answer)
    return view.done(request, sentence[:1].upper() + sentence[1:] + ".", back)


def _page_of(key: str) -> str:
    from urllib.parse import quote

    return f"/items/{quote(key, safe='')}"
