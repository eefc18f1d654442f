"""The pages and their parts: everything that reads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from workerpool.api.dashboard import view
from workerpool.api.face import Face
from workerpool.api.http.guard import Stands, Viewer, subject_of
from workerpool.api.http.items import Key
from workerpool.api.service import items, pool, revisions
from workerpool.core.revision import STATUSES, TERMINAL

router = APIRouter(include_in_schema=False)
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
#: How much of each is shown.
ITEMS, PAGE, EVENTS, LINES, OBSTACLES = 25, 25, 20, 300, 8
HISTORY = 20
OPEN = tuple(status for status in STATUSES if status not in TERMINAL)


class Elsewhere(HTTPException):
    """Somebody unknown is shown the way to the login."""

    def __init__(self) -> None:
        super().__init__(303, "log in first", {"Location": "/login"})


def known(request: Request) -> None:
    """Let those through who may look. Raises Elsewhere."""
    subject = subject_of(request)
    if subject is None or not subject.may("viewer"):
        raise Elsewhere


Known = Depends(known)


class Asked:
    """The filter of the list of revisions, as the address says it; what makes no sense there is left out."""

    def __init__(
        self,
        status: Annotated[str, Query(max_length=20)] = "",
        item: Annotated[str, Query(max_length=512)] = "",
        handler: Annotated[str, Query(max_length=200)] = "",
        error: Annotated[str, Query(max_length=500)] = "",
        cursor: Annotated[str, Query(max_length=19)] = "",
    ) -> None:
        self.status = status if status in STATUSES else ""
        self.item, self.handler, self.error = (text.replace("\0", "").strip() for text in (item, handler, error))
        self.cursor = cursor if cursor.isdecimal() and len(cursor) < 19 else ""

    def query(self, **more: str) -> str:
        """Return it as the query of an address."""
        known = {name: getattr(self, name) for name in ("status", "item", "handler", "error", "cursor")} | more
        return urlencode({name: value for name, value in known.items() if value})

    def filter(self) -> revisions.Filter:
        """Return it as the service takes it."""
        return revisions.Filter(
            (self.status,) if self.status else STATUSES,
            items=(self.item,) if self.item else None,
            handlers=(self.handler,) if self.handler else None,
            error=self.error or None,
        )


@router.get("/", dependencies=[Known])
def overview(request: Request, face: Stands, asked: Annotated[Asked, Depends()]) -> Response:
    """The whole pool on one page."""
    subject = subject_of(request)
    assert subject is not None, "who is not known does not come here"
    values = _queue(face) | _workers(face) | _items(face) | _events(face) | _revisions(face, asked)
    return view.page(request, "overview.html", runtime=view.runtime(face, subject), follows=None, **values)


@router.get("/revisions/{id}", dependencies=[Known])
def revision(request: Request, id: Id, face: Stands) -> Response:
    """Everything of a revision."""
    subject = subject_of(request)
    assert subject is not None, "who is not known does not come here"
    values = _revision(face, id) | _log(face, id) | _queue(face)
    return view.page(request, "revision.html", runtime=view.runtime(face, subject), follows=id, **values)


@router.get("/items/{key}", dependencies=[Known])
def item(request: Request, key: Key, face: Stands) -> Response:
    """An item: what waits, and its history."""
    subject = subject_of(request)
    assert subject is not None, "who is not known does not come here"
    values = _item(face, key) | _queue(face)
    return view.page(request, "item.html", runtime=view.runtime(face, subject), follows=None, **values)


@router.get("/ui/badge")
def badge(request: Request, face: Stands, _who: Viewer) -> Response:
    """Whether workers work."""
    return view.fragment(request, "badge", **_queue(face))


@router.get("/ui/pause")
def pause(request: Request, face: Stands, _who: Viewer) -> Response:
    """The pause, and how safe it is."""
    return view.fragment(request, "pause", **_queue(face))


@router.get("/ui/workers")
def workers(request: Request, face: Stands, _who: Viewer) -> Response:
    """The worker processes."""
    return view.fragment(request, "workers", **_workers(face))


@router.get("/ui/items")
def item_list(request: Request, face: Stands, _who: Viewer) -> Response:
    """The items, those with work first."""
    return view.fragment(request, "items", **_items(face))


@router.get("/ui/events")
def events(request: Request, face: Stands, _who: Viewer) -> Response:
    """What operators did."""
    return view.fragment(request, "events", **_events(face))


@router.get("/ui/revisions")
def revision_list(request: Request, face: Stands, _who: Viewer, asked: Annotated[Asked, Depends()]) -> Response:
    """Revisions, by a filter; the address of the page says which."""
    answer = view.fragment(request, "revisions", **_revisions(face, asked))
    if request.headers.get("hx-trigger-name") or request.headers.get("hx-trigger") == "filter":
        answer.headers["HX-Replace-Url"] = f"/?{asked.query()}" if asked.query() else "/"
    return answer


@router.get("/ui/revisions/{id}")
def revision_state(request: Request, id: Id, face: Stands, _who: Viewer) -> Response:
    """How a revision is."""
    return view.fragment(request, "revision", **_revision(face, id))


@router.get("/ui/revisions/{id}/log")
def revision_log(request: Request, id: Id, face: Stands, _who: Viewer) -> Response:
    """The end of a revision's log."""
    return view.fragment(request, "log", **_log(face, id))


@router.get("/ui/items/{key}")
def item_state(request: Request, key: Key, face: Stands, _who: Viewer) -> Response:
    """How an item is."""
    return view.fragment(request, "item", **_item(face, key))


@router.get("/ui/points")
def points(face: Stands, _who: Viewer) -> Response:
    """What the charts show."""
    return JSONResponse([asdict(point) for point in face.watch.points()])


def _queue(face: Face) -> dict[str, Any]:
    with face.session() as session:
        look = pool.look(session, face.lease)
        safety = pool.safe_state(session) if look["pause"]["paused"] else None
        asked = pool.pauses(session)
    obstacles = safety.obstacles() if safety is not None else []
    return {
        "pause": look["pause"],
        "queue": look["queue"],
        "asked": asked,
        "is_safe": safety is not None and safety.is_safe,
        "obstacles": obstacles[:OBSTACLES],
        "more_obstacles": max(0, len(obstacles) - OBSTACLES),
    }


def _workers(face: Face) -> dict[str, Any]:
    with face.session() as session:
        look = pool.look(session, face.lease)
    running = {each["worker"]: each for each in look["running"]}
    told = [each | {"runs": running.get(each["id"])} for each in look["workers"]]
    elsewhere = [each for name, each in running.items() if name not in {worker["id"] for worker in told}]
    return {"workers": told, "elsewhere": elsewhere}


def _items(face: Face) -> dict[str, Any]:
    with face.session() as session:
        found = items.listing(session, ITEMS + 1, face.lease)
    return {"items": found[:ITEMS], "more_items": len(found) > ITEMS}


def _events(face: Face) -> dict[str, Any]:
    with face.session() as session:
        found = pool.events(session, None, None, EVENTS)
    return {"events": found[::-1]}


def _revisions(face: Face, asked: Asked) -> dict[str, Any]:
    with face.session() as session:
        found, following = revisions.find(session, asked.filter(), PAGE, int(asked.cursor) if asked.cursor else None)
    return {
        "revisions": found,
        "filter": asked,
        "following": asked.query(cursor=str(following)) if following is not None else None,
        "statuses": STATUSES,
    }


def _revision(face: Face, id: int) -> dict[str, Any]:
    with face.session() as session:
        row = revisions.show(session, id)
        told = revisions.explain(session, id, face.lease)
        before = items.before(session, row)
    diff = items.difference(before[1], row["result"]) if before is not None else None
    return {
        "revision": row,
        "has_ended": row["status"] in TERMINAL,
        "why": [reason for _, reason in told],
        "number_before": before[0] if before is not None else None,
        "diff": diff,
    }


def _log(face: Face, id: int) -> dict[str, Any]:
    with face.session() as session:
        found = revisions.log(session, id, None, LINES)
    return {"lines": found, "id": id, "is_cut": len(found) == LINES}


def _item(face: Face, key: str) -> dict[str, Any]:
    with face.session() as session:
        found = items.known(session, key)
        history = items.history(session, key, HISTORY, with_result=True)
        content = items.content(session, key)
        waiting, _ = revisions.find(session, revisions.Filter(OPEN, (key,)), PAGE)
    told, before = [], history.before
    for row in history.rows:
        told.append(row | {"diff": items.difference(before, row["result"])})
        before = row["result"]
    return {"item": found, "history": told[::-1], "content": content, "waiting": waiting, "is_cut": history.is_cut}
