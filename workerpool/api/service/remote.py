"""What a worker without access to the database asks: claim, heartbeat, progress, complete, fail, release.

Owns: whose claim a claim is, and that the same request twice is one. Does not own: order, fences or outcomes: they are
those of local
workers (`turn`, `settle`). Invariant: every write is fenced by the claim token, whose holder is the worker that
claimed.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from workerpool.api.service import items, pool
from workerpool.api.service.refusals import ClaimLost, NoSuchRevision, NotYours
from workerpool.core import outcome as outcomes
from workerpool.core.errors import FailureKind
from workerpool.core.outcome import Outcome
from workerpool.core.revision import Tries
from workerpool.store import tallies
from workerpool.store.line import outcome_arrays
from workerpool.store.session import Row, Session

#: Attempts where neither the revision nor the worker names a limit (DESIGN.md 4.1).
MOST_ATTEMPTS = 3
Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Remote:
    """Who asks: the token's name, the slot that the worker gives itself, and the handlers that the token may
    claim (None: any).
    """

    holder: str
    slot: str = "R1"
    scopes: tuple[str, ...] | None = None

    @property
    def worker_id(self) -> str:
        """Return the name under which it holds revisions; its host is the token."""
        return f"{self.holder}/remote/{self.slot}.1"


@dataclass(frozen=True, slots=True)
class Line:
    """A line for the execution log."""

    level: Level
    message: str
    data: object = None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: the job (None: there is none, or nothing more of it), and what is in force."""

    job: Row | None
    system: Row


def claim(session: Session, remote: Remote, request: str, handlers: Sequence[str], lease: timedelta) -> Said:
    """Claim one revision, the same for the same *request*. While the pool is paused no other row is looked at.

    Raises NotYours for a handler that the token does not name.
    """
    if remote.scopes is not None and (beyond := sorted(set(handlers) - set(remote.scopes))):
        raise NotYours(f"this token may not claim {', '.join(beyond)}; it may: {', '.join(remote.scopes)}")
    system = _seen(session, remote, "idle", handlers=list(handlers))
    if _forbids(system, remote, handlers) and not _is_known(session, remote, request):
        return Said(None, system)
    asked = {"holder": remote.holder, "request": request, "worker": remote.worker_id, "token": uuid4()}
    row = session.row("remote_claim", **asked, handlers=list(handlers), lease=lease)
    assert row is not None, "remote_claim answers one row"
    if row["answer"] != "claimed":
        return Said(None, system)
    if row["claim_token"] == asked["token"]:  # and not the answer to a request that was repeated
        _count(session, tallies.key("claims", row["handler"]))
    if row["payload"] is None:
        large = session.row("payload", id=row["id"], token=row["claim_token"])
        if large is None:
            return Said(None, system)  # taken back already
        row["payload"] = large["payload"]
    row["payload"] = json.loads(row["payload"])
    row["metadata"] = json.loads(row["metadata"]) if row["metadata"] is not None else None
    row["base"] = items.content(session, row["item_key"])
    return Said(row, _seen(session, remote, "busy", revision=row["id"]))


def heartbeat(
    session: Session, remote: Remote, revision: int, token: UUID, lease: timedelta, *, is_held: bool = False
) -> Said:
    """Lengthen a lease. *is_held*: the handler stays at a checkpoint, and asks whether it may go on.

    The job says `cancel_requested`, and `hold`: a quiesce wants it to stay at its next checkpoint, or to stay there.
    Raises NoSuchRevision, NotYours, ClaimLost.
    """
    row = _mine(session, remote, revision, token)
    renewed = session.row("renew_one", id=revision, token=token, lease=lease)
    if renewed is None:
        raise ClaimLost(revision)
    # One that stays at a checkpoint is held whether something quiesces it or not; it runs on when `go_on` has written
    # that.
    system = _seen(session, remote, "paused" if is_held else "busy", revision=revision)
    wanted = _quiesces(system, remote, row["handler"])
    if is_held and not wanted:
        gone_on = session.row("go_on", worker=remote.worker_id, handler=row["handler"])
        wanted = gone_on is None or not gone_on["go_on"]
    about = {"id": revision, "lease_expires_at": renewed["lease_expires_at"], "cancel_requested": renewed["cancelling"]}
    return Said(about | {"hold": wanted}, system)


def check(session: Session, remote: Remote, revision: int, token: UUID) -> Said:
    """Tell whether a claim is in force, and change nothing. Raises NoSuchRevision, NotYours, ClaimLost."""
    row = _mine(session, remote, revision, token)
    system = pool.system(session)
    return Said({"id": revision, "lease_expires_at": row["lease_expires_at"]}, system)


def progress(
    session: Session,
    remote: Remote,
    revision: int,
    token: UUID,
    *,
    percent: float | None = None,
    step: str | None = None,
    total_steps: int | None = None,
    lines: Sequence[Line] = (),
) -> Said:
    """Write progress and lines of the log. Raises NoSuchRevision, NotYours, ClaimLost."""
    row = _mine(session, remote, revision, token)
    written = session.row(
        "told_remotely",
        id=revision,
        token=token,
        percent=percent,
        step=step,
        total=total_steps,
        levels=[each.level for each in lines],
        messages=[each.message for each in lines],
        data=[json.dumps(each.data, ensure_ascii=False) if each.data is not None else None for each in lines],
    )
    if written is None:
        raise ClaimLost(revision)
    about = {"id": revision, "lease_expires_at": row["lease_expires_at"], "cancel_requested": row["cancelling"]}
    system = _seen(session, remote, "busy", revision=revision)
    return Said(about | {"hold": _quiesces(system, remote, row["handler"])}, system)


def complete(session: Session, remote: Remote, revision: int, token: UUID, result: object) -> Said:
    """Write the result of a success. Raises NoSuchRevision, NotYours, ClaimLost."""
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    return _settle(session, remote, outcomes.completed(revision, token, text), f"complete {text}")


def fail(
    session: Session,
    remote: Remote,
    revision: int,
    token: UUID,
    message: str,
    *,
    kind: FailureKind = "error",
    final: bool = False,
    after: timedelta | None = None,
    max_attempts: int | None = None,
) -> Said:
    """Write a failure: tried again while attempts are left, *after* so long, unless *final*. Raises as `complete`."""
    row = _row(session, revision)
    most = row["max_attempts"] or max_attempts or MOST_ATTEMPTS
    tries = Tries(attempt=row["attempt"], max_attempts=most, crash_count=row["crash_count"], max_crashes=most)
    jitter = random.random()
    told = outcomes.failed(revision, token, tries, message, kind, jitter, final=final, after=after)
    if kind == "cancelled":
        told = Outcome(revision, token, "cancelled", message=message, kind=kind)
    return _settle(session, remote, told, f"fail {kind} {message}")


def release(
    session: Session,
    remote: Remote,
    revision: int,
    token: UUID,
    why: str | None = None,
    *,
    after: timedelta | None = None,
) -> Said:
    """Give a revision back unharmed, to be run *after* so long: the attempt is not counted. Raises as `complete`."""
    if after is None:
        return _settle(session, remote, outcomes.released(revision, token, why), "release")
    return _settle(session, remote, outcomes.snoozed(revision, token, why or "given back for later", after), "release")


def _settle(session: Session, remote: Remote, outcome: Outcome, asked: str) -> Said:
    """Write an outcome, once: the same *asked* again is the same answer, another is refused."""
    revision = outcome.revision_id
    digest = hashlib.sha256(asked.encode()).digest()
    about = {"holder": remote.holder, "purpose": "settle", "key": f"{revision} {outcome.token}"}
    known = None
    with session.transaction():
        # The receipt first: it waits for the same request, which may be ending the claim at this moment.
        if session.row("add_receipt", **about, digest=digest, revisions=[revision]) is None:
            known = session.row("receipt", **about)
        else:
            _mine(session, remote, revision, outcome.token)
            row = session.row("settle", **outcome_arrays([outcome]), only_expired=False)
            if row is None or not row["settled"]:
                raise ClaimLost(revision)
    if known is not None and known["digest"] != digest:
        raise ClaimLost(revision)
    after = _row(session, revision)
    system = _seen(session, remote, "idle", is_done=known is None and outcome.verdict in ("completed", "failed"))
    return Said({"id": revision, "status": after["status"], "attempt": after["attempt"]}, system)


def _row(session: Session, revision: int) -> Row:
    row = session.row("remote_row", id=revision)
    if row is None:
        raise NoSuchRevision(revision)
    return row


def _mine(session: Session, remote: Remote, revision: int, token: UUID) -> Row:
    """Return a revision whose claim is in force and this worker's. Raises NoSuchRevision, NotYours, ClaimLost."""
    row = _row(session, revision)
    if row["status"] != "processing" or row["claim_token"] != token:
        raise ClaimLost(revision)
    if row["worker_id"].partition("/remote/")[0] != remote.holder:
        raise NotYours("this claim is another worker's")
    return row


def _is_known(session: Session, remote: Remote, request: str) -> bool:
    """Tell whether a request was noted: it may have claimed before the pause, and its answer was lost."""
    return session.row("receipt", holder=remote.holder, purpose="claim", key=request) is not None


def _seen(session: Session, remote: Remote, state: str, **more: Any) -> Row:
    about = {"handlers": None, "revision": None, "is_done": False} | more
    row = session.row("remote_seen", worker=remote.worker_id, state=state, **about)
    assert row is not None, "remote_seen answers one row"
    return row


def _count(session: Session, key: tallies.Key) -> None:
    session.rows("tally", **tallies.parameters({key: 1.0}))


def _scopes(remote: Remote, handler: str) -> tuple[str, str, str]:
    return "all", f"handler:{handler}", f"host:{remote.holder}"


def _forbids(system: Row, remote: Remote, handlers: Sequence[str]) -> bool:
    """Tell whether something paused leaves nothing to claim."""
    scopes = {scope for scope, _, _ in system["pauses"]}
    return not handlers or all(scopes.intersection(_scopes(remote, handler)) for handler in handlers)


def _quiesces(system: Row, remote: Remote, handler: str) -> bool:
    wanted = _scopes(remote, handler)
    return any(mode == "quiesce" and scope in wanted for scope, mode, _ in system["pauses"])
