"""``/api/items``: an item, its history, halt, unhalt, revert. A slash in an item's key is written %2F."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path, Query

from workerpool.api.http.guard import Operator, Stands, Viewer
from workerpool.api.http.models import revisions as models
from workerpool.api.http.problems import documented
from workerpool.api.http.strict import StrictRoute
from workerpool.api.service import items
from workerpool.api.service.refusals import NotValid

router = APIRouter(prefix="/api/items", tags=["items"], route_class=StrictRoute)


#: As it is decoded; encoded it may be longer.
KEY: dict[str, Any] = {"maxLength": 512, "pattern": r"^[^\x00]+$"}


def _key(key: Annotated[str, Path(min_length=1, json_schema_extra=KEY, description="An item's key.")]) -> str:
    """Return an item's key, with its slashes."""
    item = unquote(key)
    if not 1 <= len(item) <= 512 or "\0" in item:
        raise NotValid("an item's key has 1 to 512 characters, without NUL")
    return item


Key = Annotated[str, Depends(_key)]


@router.get("", responses=documented(422))
def listing(face: Stands, _who: Viewer, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> models.Items:
    """Return items, those with work first."""
    with face.session() as session:
        found = items.listing(session, limit, face.lease)
    return models.Items(items=[models.ItemLine.model_validate(row) for row in found])


@router.get("/{key}/history", responses=documented(404, 422))
def history(
    key: Key,
    face: Stands,
    _who: Viewer,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    diff: Annotated[bool, Query(description="With what each changed.")] = False,
) -> models.History:
    """Return the latest numbers of an item's history."""
    with face.session() as session:
        found = items.history(session, key, limit, with_result=diff)
    told, before = [], found.before
    for row in found.rows:
        line = models.HistoryLine.model_validate(row)
        if diff:
            line.diff, before = items.difference(before, row["result"]), row["result"]
        told.append(line)
    return models.History(item_key=key, history=told)


@router.post("/{key}/halt", responses=documented(409, 422))
def halt(key: Key, face: Stands, who: Operator, asked: models.HaltIn | None = None) -> models.Item:
    """Start nothing of an item until it is unhalted; what runs goes on."""
    with face.session() as session:
        items.halt(session, key, (asked or models.HaltIn()).reason, who.name)
        return models.Item.model_validate(items.show(session, key))


@router.post("/{key}/unhalt", responses=documented(404, 409, 422))
def unhalt(key: Key, face: Stands, who: Operator) -> models.Item:
    """Let an item go on, past what failed."""
    with face.session() as session:
        items.unhalt(session, key, who.name)
        return models.Item.model_validate(items.show(session, key))


@router.post("/{key}/revert", status_code=201, responses=documented(404, 409, 422))
def revert(key: Key, face: Stands, who: Operator, asked: models.RevertIn) -> models.Enqueued:
    """Add a revision that gives an item the content of a number of its history; it comes after whatever is queued."""
    with face.session() as session:
        return models.Enqueued(id=items.revert(session, key, asked.to, who.name), inserted=True)


@router.get("/{key}", responses=documented(404, 422))
def show(key: Key, face: Stands, _who: Viewer) -> models.Item:
    """Return an item and its current content."""
    with face.session() as session:
        found = items.known(session, key)
        return models.Item.model_validate(found | {"content": items.content(session, key)})
