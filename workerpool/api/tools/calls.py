"""What each tool does: one call of the service, or a sentence of what it would do.

Invariant: a dry run changes nothing; what is refused is told in the service's own sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from workerpool.api.face import Face
from workerpool.api.http import jobs
from workerpool.api.http.guard import Subject
from workerpool.api.http.models import revisions as models
from workerpool.api.http.system import pause_of, safe_state_of, system_of
from workerpool.api.service import items, pool, remote, revisions
from workerpool.api.service.remote import Remote, Said
from workerpool.api.tools import asked

#: An answer: a model of the API, or what a dry run would do.
Answer = BaseModel | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one caller."""

    face: Face
    who: Subject

    def enqueue(self, given: asked.Enqueue) -> Answer:
        """Add a revision."""
        new = given.new(self.who.name)
        if given.dry_run:
            revisions.check([new])
            return _would(f"add a revision of {given.item_key} for the handler {given.handler}")
        receipt = None
        if given.idempotency_key is not None:
            receipt = revisions.Receipt(self.who.name, given.idempotency_key, given.model_dump_json().encode())
        with self.face.session() as session:
            (done,) = revisions.enqueue(session, [new], receipt)
            if given.reason and done.inserted:
                pool.note(session, "revision", "enqueue", given.reason, self.who.name, str(done.id))
        self.face.watch.soon()
        return models.Enqueued.model_validate(done)

    def status(self, given: asked.Status) -> Answer:
        """Tell how the pool is."""
        with self.face.session() as session:
            look = pool.look(session, self.face.lease)
            found = items.listing(session, given.items, self.face.lease) if given.items else []
            state = pool.pause_state(session, 5)
        told = [models.ItemLine.model_validate(row).model_dump(mode="json", by_alias=True) for row in found]
        pause = pause_of(state).model_dump(mode="json", by_alias=True)
        return {
            "queue": look["queue"],
            "workers": look["workers"],
            "running": look["running"],
            "items": told,
            "pause": pause,
        }

    def show(self, given: asked.Show) -> Answer:
        """Tell everything of a revision, and why it is where it is."""
        with self.face.session() as session:
            row = revisions.show(session, given.id)
            why = revisions.explain(session, given.id, self.face.lease)[0][1]
        shown = models.Revision.model_validate(row).model_dump(mode="json", by_alias=True)
        return shown | {"why": why.why}

    def logs(self, given: asked.Logs) -> Answer:
        """Tell lines of a revision's log."""
        with self.face.session() as session:
            found = revisions.log(session, given.id, given.after, given.limit)
        lines = [models.LogLine.model_validate(row) for row in found]
        return models.Log(lines=lines, next=lines[-1].id if lines else given.after)

    def claim(self, given: asked.Claim) -> Answer:
        """Claim a revision."""
        asker = self._remote(given.worker)
        if given.dry_run:
            with self.face.session() as session:
                system = system_of(pool.system(session)).model_dump(mode="json", by_alias=True)
            return _would(f"claim one revision of {', '.join(given.handlers)}, if there is one", system=system)
        with self.face.session() as session:
            request, lease = str(given.claim_request_id), self.face.lease
            return jobs.claimed(self.face, remote.claim(session, asker, request, given.handlers, lease))

    def heartbeat(self, given: asked.Heartbeat) -> Answer:
        """Lengthen a lease, and say how far it is."""
        asker, token = self._remote(given.worker), given.claim_token
        with self.face.session() as session:
            if given.dry_run:
                return self._would_settle(remote.check(session, asker, given.id, token), "lengthen the lease of")
            if given.percentage is not None or given.step is not None:
                remote.progress(session, asker, given.id, token, percent=given.percentage, step=given.step)
            said = remote.heartbeat(session, asker, given.id, token, self.face.lease, is_held=given.held)
        return jobs.told(said)

    def complete(self, given: asked.Complete) -> Answer:
        """Write the result of a success."""
        asker, token = self._remote(given.worker), given.claim_token
        with self.face.session() as session:
            if given.dry_run:
                return self._would_settle(remote.check(session, asker, given.id, token), "complete")
            return jobs.told(remote.complete(session, asker, given.id, token, given.result))

    def fail(self, given: asked.Fail) -> Answer:
        """Write a failure."""
        asker, token = self._remote(given.worker), given.claim_token
        after = timedelta(seconds=given.retry_after_seconds) if given.retry_after_seconds is not None else None
        with self.face.session() as session:
            if given.dry_run:
                return self._would_settle(remote.check(session, asker, given.id, token), "fail the attempt of")
            told = remote.fail(session, asker, given.id, token, given.message, final=given.final, after=after)
        return jobs.told(told)

    def cancel(self, given: asked.Cancel) -> Answer:
        """End a revision, or ask it to end."""
        with self.face.session() as session:
            if given.dry_run:
                row = revisions.show(session, given.id)
                return _would(f"cancel revision {given.id}, which is {row['status']}")
            answer = revisions.cancel(session, given.id, self.who.name, given.reason)
        return self._answered(answer)

    def retry(self, given: asked.Retry) -> Answer:
        """Let a revision run again."""
        with self.face.session() as session:
            if given.dry_run:
                row, what = revisions.show(session, given.id), "add a copy of" if given.append else "run again"
                return _would(f"{what} revision {given.id}, which is {row['status']}")
            answer = revisions.retry(session, given.id, self.who.name, append=given.append)
            if given.reason:
                pool.note(session, "revision", "retry", given.reason, self.who.name, str(given.id))
        return self._answered(answer)

    def pause(self, given: asked.Pause) -> Answer:
        """Start nothing more."""
        with self.face.session() as session:
            if given.dry_run:
                return _would(f"pause the pool ({given.mode}) as {self.who.name}: {given.reason}")
            pool.pause(session, given.mode, given.reason, self.who.name, until=given.until)
            self.face.watch.soon()
            return pause_of(pool.pause_state(session))

    def resume(self, given: asked.Resume) -> Answer:
        """Take pauses away."""
        with self.face.session() as session:
            if given.dry_run:
                whose = None if given.everybody else given.holder or self.who.name
                meant = [each["holder"] for each in pool.pauses(session) if whose in (None, each["holder"])]
                return _would(f"take away {len(meant)} pauses", holders=meant)
            lifted = pool.resume(session, given.reason, self.who.name, holder=given.holder, everybody=given.everybody)
            self.face.watch.soon()
            return pause_of(pool.pause_state(session), lifted)

    def safe_state(self, given: asked.SafeState) -> Answer:
        """Tell whether nothing runs outside a hold."""
        with self.face.session() as session:
            return safe_state_of(pool.safe_state(session, given.scope))

    def _remote(self, slot: str) -> Remote:
        return Remote(self.who.name, slot, self.who.scopes if self.who.role == "worker" else None)

    def _answered(self, answer: revisions.Answer) -> Answer:
        self.face.watch.soon()
        about = {name: getattr(answer, name) for name in ("id", "answer", "status", "item_key", "new_id")}
        return models.Answer.model_validate(about | {"detail": revisions.sentence(answer)})

    @staticmethod
    def _would_settle(said: Said, what: str) -> Answer:
        assert said.job is not None, "a check answers the job"
        system = system_of(said.system).model_dump(mode="json", by_alias=True)
        return _would(f"{what} revision {said.job['id']}", system=system)


def _would(what: str, **more: Any) -> dict[str, Any]:
    return {"dryRun": True, "would": what, **more}


#: What is told of the whole pool.
STATUS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "queue": {"type": "object", "description": "How many wait (counted to 10,001), run, are held, stale, halted."},
        "workers": {"type": "array", "items": {"type": "object"}},
        "running": {"type": "array", "items": {"type": "object"}},
        "items": {"type": "array", "items": {"type": "object"}},
        "pause": {"type": "object"},
    },
}
