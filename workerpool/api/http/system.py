"""``/api/queue``, ``/api/workers``, ``/api/system`` and ``/api/processing``: the pool as a whole, and its pause."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from workerpool.api.face import Face
from workerpool.api.http.guard import Operator, Stands, Viewer
from workerpool.api.http.models import pool as models
from workerpool.api.http.problems import documented
from workerpool.api.http.strict import StrictRoute
from workerpool.api.service import pool
from workerpool.api.service.pool import PauseState, Safety
from workerpool.core.revision import STATUSES

router = APIRouter(prefix="/api", tags=["pool"], route_class=StrictRoute)


@router.get("/queue")
def queue(face: Stands, _who: Viewer) -> models.Queue:
    """Return how many revisions there are of each status, counted one by one, and the last minutes."""
    with face.session() as session:
        rows = [models.CountLine.model_validate(row) for row in pool.queue(session)]
    counts = dict.fromkeys(STATUSES, 0)
    for row in rows:
        counts[row.status] += row.revisions
    oldest = min((row.oldest for row in rows if row.status == "pending" and row.oldest), default=None)
    points = [models.Point.model_validate(point) for point in face.watch.points()]
    return models.Queue(revisions=counts, handlers=rows, oldest_pending=oldest, points=points)


@router.get("/workers", responses=documented(422))
def workers(
    face: Stands, _who: Viewer, gone: Annotated[bool, Query(description="The dead ones too.")] = False
) -> models.Workers:
    """Return the worker processes of every host."""
    with face.session() as session:
        found = pool.workers(session, face.lease, gone=gone)
    return models.Workers(workers=[models.WorkerLine.model_validate(row) for row in found])


@router.get("/system/worker-pause")
def pause(face: Stands, _who: Viewer) -> models.Pause:
    """Return the pause: what is in force, who asked for it, its figures, and what was done lately."""
    return _pause(face)


@router.post("/system/worker-pause", responses=documented(409, 422))
def change_pause(face: Stands, who: Operator, asked: Annotated[models.PauseIn, Body()]) -> models.Pause:
    """Pause or resume, with *version* only if the pause is still as it was seen (else 409).

    A resume takes away one's own pauses, those of *holder*, or those of *everybody*.
    """
    lifted = None
    with face.session() as session:
        if isinstance(asked, models.PauseAsked):
            pool.pause(
                session,
                asked.mode,
                asked.reason,
                who.name,
                scope=asked.scope,
                until=asked.until,
                version=asked.version,
                holder=asked.holder,
            )
        else:
            lifted = pool.resume(
                session,
                asked.reason,
                who.name,
                scope=asked.scope,
                version=asked.version,
                holder=asked.holder,
                everybody=asked.everybody,
            )
    face.watch.soon()
    return _pause(face, lifted)


@router.get("/system/safe-state", responses=documented(422))
def safe_state(
    face: Stands, _who: Viewer, scope: Annotated[str, Query(max_length=600, pattern=r"^[^\x00]*$")] = "all"
) -> models.SafeState:
    """Return whether nothing runs outside a hold, as of one moment, and what keeps it from being so."""
    with face.session() as session:
        found = pool.safe_state(session, scope)
    return safe_state_of(found)


@router.get("/system/events", responses=documented(422))
def events(
    face: Stands,
    _who: Viewer,
    after: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Events after this one; else the latest.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> models.Events:
    """Return what operators did: who, what, why, when."""
    with face.session() as session:
        found = pool.events(session, None, after, limit)
    return models.Events(events=[models.Event.model_validate(row) for row in found])


@router.post("/processing/stop", responses=documented(422))
def stop(face: Stands, who: Operator, asked: models.ProcessingIn | None = None) -> models.Pause:
    """Drain: start nothing more; what runs ends."""
    with face.session() as session:
        pool.pause(session, "drain", asked.reason if asked and asked.reason.strip() else "stopped over HTTP", who.name)
    face.watch.soon()
    return _pause(face)


@router.post("/processing/start", responses=documented(409, 422))
def start(face: Stands, who: Operator, asked: models.ProcessingIn | None = None) -> models.Pause:
    """Go on: take away one's own pauses, or those of *everybody*."""
    asked = asked or models.ProcessingIn()
    with face.session() as session:
        lifted = pool.resume(session, asked.reason, who.name, everybody=asked.everybody)
    face.watch.soon()
    return _pause(face, lifted)


def system_of(row: dict[str, Any]) -> models.System:
    """Return what is in force, as workers are told it."""
    return models.System.model_validate(row | {"workers_paused": row["paused"]})


def _pause(face: Face, lifted: int | None = None) -> models.Pause:
    with face.session() as session:
        return pause_of(pool.pause_state(session), lifted)


def pause_of(found: PauseState, lifted: int | None = None) -> models.Pause:
    """Return the pause as it is told; *lifted*: how many a resume has just taken away."""
    return models.Pause.model_validate(
        found.state
        | {"workers_paused": found.state["paused"], "metrics": found.metrics, "lifted": lifted}
        | {"pauses": found.asked, "events": found.events}
    )


def safe_state_of(found: Safety) -> models.SafeState:
    """Return how safe it is, as it is told."""
    return models.SafeState(
        is_safe=found.is_safe,
        paused=found.paused,
        mode=found.mode,
        version=found.version,
        running=len(found.running),
        held=len(found.held),
        lost=len(found.lost),
        active_tokens=len(found.tokens),
        unaware=[each["id"] for each in found.unaware],
        obstacles=found.obstacles(),
    )
