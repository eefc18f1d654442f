"""Why a revision does not run, or what it does, and what one could do about it: from facts to sentences.

Owns: the order in which reasons are looked for. Pure: the facts come from `waiting.sql`. Invariant: every status and
every way of waiting
has a sentence; a command that is named exists.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from workerpool.api.holders import lifting, sentence
from workerpool.core.wording import length, safe, shorten

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a revision is where it is, and the next command (None: nothing needs to be done)."""

    why: str
    command: str | None = None


def reason(facts: Facts) -> Reason:
    """Return why the revision with these *facts* does not run now."""
    revision, status = facts["id"], facts["status"]
    match status:
        case "completed":
            why = f"it ended {length(facts['ended_ago'])} ago, as number {facts['revision_number']} of its item"
            return Reason(why, f"workerpool show {revision}")
        case "failed" | "cancelled":
            return _ended(facts)
        case "draft":
            return Reason("it is a draft: drafts wait until they are queued", f"workerpool queue {revision}")
        case "scheduled":
            due = facts["due_in"] <= 0 and _paused(facts)
            return due or Reason(f"it is scheduled: due {_due(facts)}", f"workerpool edit {revision} --run-at now")
        case "processing":
            return _processing(facts)
        case _:
            return _pending(facts)


def _due(facts: Facts) -> str:
    at = facts["run_at"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"in {length(facts['due_in'])} (at {at})"
        if facts["due_in"] > 0
        else f"since {length(-facts['due_in'])} (at {at})"
    )


def _ended(facts: Facts) -> Reason:
    told = shorten(safe(facts["error_message"] or "no message"), 300)
    why = f"it ended {length(facts['ended_ago'])} ago ({facts['error_kind'] or 'no kind'}): {told}"
    if facts["halted"]:
        why += "; its item is halted since"
    if facts["outrun"]:
        why += "; later ones of its item have run, so it cannot run in its place any more"
    return Reason(why, f"workerpool retry {facts['id']}" + (" --append" if facts["outrun"] else ""))


def _processing(facts: Facts) -> Reason:
    where = f"it has run on {facts['worker_id']} for {length(facts['running_for'])}, attempt {facts['attempt']}"
    if facts["lease_left"] is not None and facts["lease_left"] < 0:
        late = length(-facts["lease_left"])
        return Reason(
            f"{where}; its lease ran out {late} ago: a living pool takes it back and tries again", "workerpool workers"
        )
    if facts["held"]:
        quiesced = [each for each in facts["pauses"] or () if each["mode"] == "quiesce"]
        at = f" {safe(facts['step'])!r}" if facts["step"] else " a checkpoint"
        why = f"{where}; it is held at{at}, and goes on by itself after the resume; paused: {_sentences(quiesced)}"
        return Reason(why, lifting(quiesced))
    step = f": {safe(facts['step'])}" if facts["step"] else ""
    percent = f" ({facts['percent']:.0f}%)" if facts["percent"] is not None else ""
    ending = "; it was asked to end" if facts["cancelling"] else ""
    return Reason(f"{where}{step}{percent}{ending}", f"workerpool logs {facts['id']} -f")


def _pending(facts: Facts) -> Reason:
    if facts["cancelling"]:
        return Reason("somebody wants it cancelled: it is about to be")
    if facts["behind"] is not None:
        others = f", {facts['ahead']} of its item are before it" if facts["ahead"] > 1 else ""
        why = f"it is behind revision {facts['behind']} of the same item{others}"
        return Reason(why, f"workerpool explain {facts['behind']}")
    if facts["halted"]:
        command = f"workerpool unhalt {shlex.quote(facts['item_key'])}"
        return Reason(f"its item is halted: {safe(facts['halt_reason'] or '')}", safe(command))
    paused = _paused(facts)
    if facts["due_in"] > 0 or (facts["parked"] == "due" and paused is None):
        kind = f" after {facts['error_kind']} in attempt {facts['attempt']}" if facts["error_kind"] else ""
        return Reason(
            f"it waits to be tried again{kind}: due {_due(facts)}", f"workerpool edit {facts['id']} --run-at now"
        )
    return paused or _claimable(facts)


def _paused(facts: Facts) -> Reason | None:
    """Return the pause that this revision waits for; a host's only where no other host has its handler."""
    pauses = [each for each in facts["pauses"] or () if not each["scope"].startswith("host:")]
    if facts["able"] and not facts["free"]:
        pauses += [each for each in facts["pauses"] or () if each["scope"].startswith("host:")]
    return Reason(f"it waits for a resume; paused: {_sentences(pauses)}", lifting(pauses)) if pauses else None


def _sentences(pauses: list[Facts]) -> str:
    return "; ".join(sentence(each) + (f" ({each['fate']})" if each.get("fate") else "") for each in pauses)


def _claimable(facts: Facts) -> Reason:
    if not facts["workers"]:
        return Reason("no worker is alive", "workerpool start")
    if not facts["able"]:
        why = f"none of the {facts['workers']} living workers has the handler {safe(facts['handler'])!r}: it fails soon"
        return Reason(why, "workerpool workers")
    if facts["most"] is not None and facts["at_once"] >= facts["most"]:
        why = f"of its handler {facts['at_once']} run, and {facts['most']} may at once (its concurrency)"
        return Reason(why, "workerpool workers")
    if facts["parked"] == "behind" or facts["idle"]:
        return Reason("it is about to be claimed")
    return Reason(
        f"it waits for a free worker: all {facts['able']} that have its handler are busy", "workerpool workers"
    )
