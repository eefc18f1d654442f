"""``/api/queue/jobs``: workers on machines without access to the database, in any language."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path

from workerpool.api.face import Face
from workerpool.api.http.guard import Stands, Subject, Worker
from workerpool.api.http.models import jobs as models
from workerpool.api.http.problems import documented
from workerpool.api.http.strict import StrictRoute
from workerpool.api.http.system import system_of
from workerpool.api.service import remote
from workerpool.api.service.remote import Line, Remote, Said

router = APIRouter(prefix="/api/queue/jobs", tags=["remote workers"], route_class=StrictRoute)
Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="The revision's id.")]
PROBLEMS = documented(404, 409, 422)


@router.post("/claim", responses=documented(422))
def claim(face: Stands, who: Worker, asked: models.ClaimIn) -> models.Claimed:
    """Claim one revision; `job` is null where there is none, or while the pool is paused.

    The same request is the same claim.
    """
    asker = _remote(who, asked.worker)
    with face.session() as session:
        return claimed(face, remote.claim(session, asker, str(asked.claim_request_id), asked.handlers, face.lease))


def claimed(face: Face, said: Said) -> models.Claimed:
    """Return the answer to a claim."""
    job = None
    if said.job is not None:
        key = {"idempotency_key": f"{said.job['id']}:{said.job['attempt']}"}
        job = models.Job.model_validate(said.job | key)
    return models.Claimed(job=job, system=system_of(said.system), intervals=intervals(face))


@router.post("/{id}/heartbeat", responses=PROBLEMS)
def heartbeat(id: Id, face: Stands, who: Worker, asked: models.HeartbeatIn) -> models.Acknowledged:
    """Lengthen the lease; hear of a cancel, and of a pause that wants the handler to stay at its next checkpoint."""
    with face.session() as session:
        token, lease = asked.claim_token, face.lease
        return told(remote.heartbeat(session, _remote(who, asked.worker), id, token, lease, is_held=asked.held))


@router.post("/{id}/progress", responses=PROBLEMS)
def progress(id: Id, face: Stands, who: Worker, asked: models.ProgressIn) -> models.Acknowledged:
    """Say how far it is, and write lines into its log."""
    with face.session() as session:
        return told(
            remote.progress(
                session,
                _remote(who, asked.worker),
                id,
                asked.claim_token,
                percent=asked.percentage,
                step=asked.step,
                total_steps=asked.total_steps,
                lines=[Line(each.level, each.message, each.data) for each in asked.log],
            )
        )


@router.post("/{id}/complete", responses=PROBLEMS)
def complete(id: Id, face: Stands, who: Worker, asked: models.CompleteIn) -> models.Acknowledged:
    """The attempt succeeded. The same result again is answered the same."""
    with face.session() as session:
        return told(remote.complete(session, _remote(who, asked.worker), id, asked.claim_token, asked.result))


@router.post("/{id}/fail", responses=PROBLEMS)
def fail(id: Id, face: Stands, who: Worker, asked: models.FailIn) -> models.Acknowledged:
    """The attempt failed: it is tried again while attempts are left, unless it is *final*."""
    after = timedelta(seconds=asked.retry_after_seconds) if asked.retry_after_seconds is not None else None
    with face.session() as session:
        return told(
            remote.fail(
                session,
                _remote(who, asked.worker),
                id,
                asked.claim_token,
                asked.message,
                kind=asked.kind,
                final=asked.final,
                after=after,
                max_attempts=asked.max_attempts,
            )
        )


@router.post("/{id}/release", responses=PROBLEMS)
def release(id: Id, face: Stands, who: Worker, asked: models.ReleaseIn) -> models.Acknowledged:
    """Give the revision back unharmed, at once or for later: the attempt is not counted."""
    after = timedelta(seconds=asked.after_seconds) if asked.after_seconds is not None else None
    with face.session() as session:
        why = asked.reason or None
        return told(remote.release(session, _remote(who, asked.worker), id, asked.claim_token, why, after=after))


def intervals(face: Face) -> models.Intervals:
    """Return the rhythm that a worker is to keep."""
    brief = face.brief
    return models.Intervals(
        poll=brief.poll_interval, pause_poll=brief.pause_poll_interval, heartbeat=brief.heartbeat, lease=brief.lease
    )


def _remote(who: Subject, slot: str) -> Remote:
    return Remote(who.name, slot, who.scopes if who.role == "worker" else None)


def told(said: Said) -> models.Acknowledged:
    """Return the answer to what an attempt said."""
    return models.Acknowledged(job=models.JobState.model_validate(said.job), system=system_of(said.system))
