"""``/webhook/…`` and ``/webhooks/…``: others tell that there is something to do; it is noted, answered 202, and
done by workers.

Invariant: nothing of a body is read before its signature is found right; a delivery counts once.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Header, HTTPException, Path, Request

from workerpool.api import edits, strict_json
from workerpool.api.face import Face
from workerpool.api.http.guard import Stands, Subject, subject_of
from workerpool.api.http.models.jobs import Woken
from workerpool.api.http.problems import documented
from workerpool.api.service import intake, pool
from workerpool.api.service.intake import Delivery
from workerpool.api.service.refusals import NoSuchSource, NotValid
from workerpool.api.webhooks import signatures
from workerpool.api.webhooks.sources import NotForUs, Source

router = APIRouter(tags=["webhooks"])
#: Under which name the deliveries of the seed system's path are noted.
TRIGGER = "trigger-edit-processing"
PROBLEMS = documented(422)
#: An edit as the seed system writes it; whatever else it holds is payload. What is null is as if it were not there.
KEY: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 512}
EDIT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "handler": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
        "priority": {"type": ["integer", "null"], "minimum": -32768, "maximum": 32767},
        "payload": {"type": ["object", "null"]},
        "html_content": {"type": ["string", "null"]},
        "run_at": {"type": ["string", "null"], "format": "date-time"},
        "dedupe_key": {"type": ["string", "null"], "minLength": 1, "maxLength": 1000},
        "max_attempts": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1},
        "timeout_seconds": {"type": ["integer", "null"], "minimum": 1, "maximum": 31_536_000},
    },
    "oneOf": [
        {"properties": {"item_key": KEY, "app_slug": {"type": "null"}}, "required": ["item_key"]},
        {"properties": {"app_slug": KEY, "item_key": {"type": "null"}}, "required": ["app_slug"]},
    ],
    "examples": [{"app_slug": "snake", "user_message": "make the snake blue"}],
}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "/webhook/trigger-edit-processing",
    status_code=202,
    responses=PROBLEMS,
    openapi_extra=_body({"anyOf": [EDIT, {"type": "array", "items": EDIT}]}),
)
async def trigger(request: Request, face: Stands) -> Woken:
    """Wake the workers; a body with an edit, or a list of edits, adds them first, all or none.

    Signed as Standard Webhooks with WORKERPOOL_WEBHOOK_SECRET where that is set; else with the API's token, where one
    is needed.
    """
    body = await request.body()
    delivery = _trigger_delivery(request, face, body)
    if not body.strip():
        await anyio.to_thread.run_sync(_wake, face)
        return Woken()
    found = _json(body)
    entries, complaints = edits.take(found if isinstance(found, list) else [found])
    if complaints:
        raise NotValid(
            "; ".join(map(str, complaints[:5])),
            errors=[{"where": c.where, "problem": c.problem} for c in complaints[:100]],
        )
    ids, repeated = await anyio.to_thread.run_sync(_add_edits, face, delivery, entries)
    return Woken(revisions=ids, repeated=repeated)


def _trigger_delivery(request: Request, face: Face, body: bytes) -> Delivery | None:
    """Return the delivery of a signed request; None: it was not signed, and need not be. Raises HTTPException."""
    subject, secret = subject_of(request), face.brief.webhook_secret
    if secret is not None and not _is_let_in(subject, TRIGGER):
        signed = _verified("standard", [secret], request, body)
        return Delivery(TRIGGER, signed.id)
    if subject is None or not subject.may("source"):
        raise HTTPException(401, "a token or a signature is needed", {"WWW-Authenticate": "Bearer"})
    return None


def _is_let_in(subject: Subject | None, source: str) -> bool:
    """Tell whether a token speaks for a source; nobody does who did not have to say who they are."""
    if subject is None or subject.is_open or subject.by_cookie:
        return False
    return subject.role == "operator" or (subject.role == "source" and source in (subject.scopes or ()))


def _verified(form: str, secrets: list[str], request: Request, body: bytes) -> signatures.Delivery:
    try:
        return signatures.verify(form, secrets, request.headers, body, time.time())
    except signatures.NotSigned as error:
        raise HTTPException(401, str(error)) from None


def _json(body: bytes) -> object:
    try:
        return strict_json.read(body)
    except strict_json.BadJson as error:
        raise HTTPException(400, str(error)) from None


def _wake(face: Face) -> None:
    with face.session() as session:
        pool.wake(session)


def _add_edits(face: Face, delivery: Delivery | None, entries: list[edits.Entry]) -> tuple[list[int], bool]:
    with face.session() as session:
        return intake.deliver_edits(session, delivery, entries)


@router.post(
    "/webhooks/{source}",
    status_code=202,
    responses=PROBLEMS | documented(404),
    openapi_extra=_body({"description": "As the source sends it."}),
)
async def receive(
    request: Request,
    face: Stands,
    source: Annotated[str, Path(min_length=1, max_length=100)],
    x_github_event: Annotated[str | None, Header(max_length=200)] = None,
) -> Woken:
    """Note a delivery of a source of WORKERPOOL_SOURCES, as one revision; the same delivery again adds nothing."""
    known = face.sources.get(source)
    if known is None:
        raise NoSuchSource(source)
    body = await request.body()
    name = _delivery_id(known, request, body)
    found = _json(body) if body.strip() else {}
    try:
        new = None if known.ignores(x_github_event) else known.new_revision(found, name)
    except NotForUs as error:
        raise NotValid(str(error)) from None
    revision, is_new = await anyio.to_thread.run_sync(_deliver, face, Delivery(source, name or known.id_of(found)), new)
    return Woken(revisions=[revision] if revision is not None else [], repeated=not is_new)


def _delivery_id(source: Source, request: Request, body: bytes) -> str:
    """Return the name of a delivery that is signed, or comes with the source's token. Raises HTTPException."""
    if source.form != "token":
        return _verified(source.form, list(source.secrets), request, body).id
    if not _is_let_in(subject_of(request), source.name):
        raise HTTPException(401, "the source's token is needed", {"WWW-Authenticate": "Bearer"})
    return ""


def _deliver(face: Face, delivery: Delivery, new: Any) -> tuple[int | None, bool]:
    with face.session() as session:
        return intake.deliver(session, delivery, new)
