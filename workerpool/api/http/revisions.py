"""``/api/revisions``: enqueue, find, look at, cancel, retry, queue, edit, explain."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import Field

from workerpool.api.http.guard import Operator, Stands, Subject, Viewer
from workerpool.api.http.models import revisions as models
from workerpool.api.http.models.base import Status
from workerpool.api.http.problems import documented
from workerpool.api.http.strict import StrictRoute
from workerpool.api.service import revisions
from workerpool.api.service.refusals import NotValid
from workerpool.core.revision import STATUSES

router = APIRouter(prefix="/api/revisions", tags=["revisions"], route_class=StrictRoute)
Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="A revision's id.")]
Text = Annotated[str | None, Query(min_length=1, max_length=512)]
#: How many one request may add.
MOST = 10_000
Several = Annotated[list[models.RevisionIn], Field(min_length=1, max_length=MOST)]


@router.post(
    "",
    status_code=201,
    responses={200: {"description": "It was there already."}, **documented(422)},
)
def enqueue(
    request: Request,
    response: Response,
    face: Stands,
    who: Operator,
    new: Annotated[
        models.RevisionIn | Annotated[list[models.RevisionIn], Field(min_length=1, max_length=MOST)], Body()
    ],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> models.Enqueued | list[models.Enqueued]:
    """Add a revision, or several in this order, all or none.

    With an `Idempotency-Key` the same request counts once: repeated, it is answered 200 with the same ids.
    """
    several = new if isinstance(new, list) else [new]
    asked = [each.asked(who.name) for each in several]
    receipt = None
    if idempotency_key is not None:
        body = json.dumps([each.model_dump(mode="json") for each in several], sort_keys=True).encode()
        receipt = revisions.Receipt(who.name, idempotency_key, body)
    with face.session() as session:
        done = [models.Enqueued.model_validate(each) for each in revisions.enqueue(session, asked, receipt)]
    face.watch.soon()
    if not any(each.inserted for each in done):
        response.status_code = 200
    if isinstance(new, list):
        return done
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/revisions/{done[0].id}"
    return done[0]


@router.get("", responses=documented(422))
def find(
    face: Stands,
    _who: Viewer,
    status: Annotated[list[Status] | None, Query()] = None,
    item: Annotated[Text, Query(description="`*` stands for any characters.")] = None,
    handler: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    kind: Annotated[
        str | None, Query(min_length=1, max_length=40, description="Of the failure: error, timeout, crash …")
    ] = None,
    error: Annotated[Text, Query(description="A part of the message.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")] = None,
) -> models.Revisions:
    """Return revisions, the latest first, a page at a time."""
    wanted = revisions.Filter(
        tuple(status or STATUSES),
        items=(item,) if item else None,
        handlers=(handler,) if handler else None,
        kinds=(kind,) if kind else None,
        error=error,
    )
    _check_text(item, handler, kind, error)
    with face.session() as session:
        found, following = revisions.find(session, wanted, limit, int(cursor) if cursor else None)
    page = [models.RevisionLine.model_validate(row) for row in found]
    return models.Revisions(revisions=page, next=str(following) if following is not None else None)


def _check_text(*texts: str | None) -> None:
    if any("\0" in text for text in texts if text):
        raise NotValid("a text with NUL matches nothing: the database holds none")


@router.get("/{id}", responses=documented(404, 422))
def show(id: Id, face: Stands, _who: Viewer) -> models.Revision:
    """Return everything of a revision."""
    with face.session() as session:
        return models.Revision.model_validate(revisions.show(session, id))


@router.get("/{id}/progress", responses=documented(404, 422))
def progress(id: Id, face: Stands, _who: Viewer) -> models.Progress:
    """Return how far a revision is."""
    with face.session() as session:
        return models.Progress.model_validate(revisions.show(session, id))


@router.get("/{id}/log", responses=documented(404, 422))
def log(
    id: Id,
    face: Stands,
    _who: Viewer,
    after: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Lines after this one; else the last ones.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> models.Log:
    """Return lines of a revision's execution log."""
    with face.session() as session:
        found = [models.LogLine.model_validate(row) for row in revisions.log(session, id, after, limit)]
    return models.Log(lines=found, next=found[-1].id if found else after)


@router.get("/{id}/explain", responses=documented(404, 422))
def explain(id: Id, face: Stands, _who: Viewer) -> models.Why:
    """Say why a revision is where it is, and what would change it."""
    with face.session() as session:
        told = [
            {name: facts[name] for name in ("id", "item_key", "status")} | {"why": why.why, "next": why.command}
            for facts, why in revisions.explain(session, id, face.lease)
        ]
    return models.Why.model_validate(told[0] | {"behind": told[1] if len(told) > 1 else None})


@router.post("/{id}/cancel", responses=documented(404, 409, 422))
def cancel(id: Id, face: Stands, who: Operator, asked: models.CancelIn | None = None) -> models.Answer:
    """End a revision that has not started; ask one that runs to stop."""
    with face.session() as session:
        return _told(face, who, revisions.cancel(session, id, who.name, asked.reason if asked else ""))


@router.post("/{id}/retry", responses=documented(404, 409, 422))
def retry(id: Id, face: Stands, who: Operator, asked: models.RetryIn | None = None) -> models.Answer:
    """Let a failed or cancelled revision run again."""
    with face.session() as session:
        return _told(face, who, revisions.retry(session, id, who.name, append=bool(asked and asked.append)))


@router.post("/{id}/queue", responses=documented(404, 409, 422))
def queue(id: Id, face: Stands, who: Operator) -> models.Answer:
    """Let a draft take part."""
    with face.session() as session:
        return _told(face, who, revisions.queue(session, id, who.name))


@router.patch("/{id}", responses=documented(404, 409, 422))
def edit(id: Id, face: Stands, who: Operator, asked: models.EditIn) -> models.Answer:
    """Change a revision that has not started."""
    given: dict[str, Any] = {"payload": asked.payload, "priority": asked.priority, "run_at": asked.run_at}
    with face.session() as session:
        return _told(face, who, revisions.edit(session, id, who.name, **given))


def _told(face: Stands, _who: Subject, answer: revisions.Answer) -> models.Answer:
    face.watch.soon()
    about = {name: getattr(answer, name) for name in ("id", "answer", "status", "item_key", "new_id")}
    return models.Answer.model_validate(about | {"detail": revisions.sentence(answer)})
