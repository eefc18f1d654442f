"""A history of every change of every revision, and the checker that reads it (FAULTS.md part 2).

Owns: the trigger that records, the facts, and what may not be found in them. Does not own: making trouble.
Invariant: ``ver`` counts the changes of one revision under its row lock, so its order is certain. Changes of different
revisions of an item are ordered by the database's clock read under the item's lock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import psycopg

RECORD = """
ALTER TABLE workerpool.revisions ADD COLUMN ver integer NOT NULL DEFAULT 1;
CREATE TABLE workerpool.revision_history (
    hid bigint GENERATED ALWAYS AS IDENTITY, revision_id bigint, item_key text, ver integer,
    old_status text, new_status text, attempt integer, crash_count integer, claim_token uuid,
    worker_id text, number integer, asked boolean,
    xid xid8 DEFAULT pg_current_xact_id(), at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION workerpool.count_change() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.ver := OLD.ver + 1; RETURN NEW; END';
CREATE FUNCTION workerpool.record_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO workerpool.revision_history
        (revision_id, item_key, ver, old_status, new_status, attempt, crash_count, claim_token, worker_id, number,
         asked)
    VALUES (NEW.id, NEW.item_key, NEW.ver, CASE TG_OP WHEN 'UPDATE' THEN OLD.status END, NEW.status, NEW.attempt,
            NEW.crash_count, NEW.claim_token, NEW.worker_id, NEW.revision_number,
            NEW.cancel_requested_at IS NOT NULL);
    RETURN NULL; END $$;
CREATE TRIGGER zz_count BEFORE UPDATE ON workerpool.revisions FOR EACH ROW EXECUTE FUNCTION workerpool.count_change();
CREATE TRIGGER zz_record AFTER INSERT OR UPDATE ON workerpool.revisions
    FOR EACH ROW EXECUTE FUNCTION workerpool.record_change();
"""

ENDS = frozenset({"completed", "failed", "cancelled"})
LEGAL = frozenset(
    {
        (None, "draft"),
        (None, "scheduled"),
        (None, "pending"),
        ("draft", "pending"),
        ("draft", "cancelled"),
        ("scheduled", "scheduled"),
        ("scheduled", "pending"),
        ("scheduled", "cancelled"),
        ("pending", "pending"),
        ("pending", "processing"),
        ("pending", "failed"),
        ("pending", "cancelled"),
        ("processing", "processing"),
        ("processing", "pending"),
        *(("processing", end) for end in ENDS),
    }
)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one revision, as the trigger saw it; ``at`` in seconds of the database's clock.

    ``asked``: somebody wants it cancelled. ``worker``: whom the row names, the claimer where it is processing.
    """

    revision: int
    item: str
    ver: int
    before: str | None
    after: str
    attempt: int
    crashes: int
    token: str | None
    number: int | None
    at: float
    asked: bool = False
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A client's transaction: what it inserted, in order, and when its commit was acknowledged (None: never)."""

    ids: tuple[int, ...]
    acknowledged: float | None
    rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """What a worker was told of an outcome that it sent; ``written`` is None where it never learned."""

    revision: int
    token: str
    verdict: str
    written: bool | None


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody who wanted a revision cancelled was told, and the end that they then saw, as in its row."""

    revision: int
    answer: str
    seen: str


def record(connection: psycopg.Connection) -> None:
    """Start recording."""
    connection.execute(RECORD)


def changes(connection: psycopg.Connection) -> list[Change]:
    """Return everything that was recorded."""
    rows = connection.execute(
        "SELECT revision_id, item_key, ver, old_status, new_status, attempt, crash_count, claim_token::text, number, "
        "extract(epoch FROM at)::float8, asked, worker_id "
        "FROM workerpool.revision_history ORDER BY revision_id, ver"
    ).fetchall()
    return [Change(*row) for row in rows]


def violations(
    found: Iterable[Change],
    enqueued: Sequence[Enqueued] = (),
    settled: Sequence[Settled] = (),
    cancels: Sequence[Told] = (),
    *,
    drained: bool = True,
) -> list[str]:
    """Return what the history should not hold, as sentences; *drained* says that all work should be done."""
    lives: dict[int, list[Change]] = defaultdict(list)
    for change in found:
        lives[change.revision].append(change)
    for life in lives.values():
        life.sort(key=lambda change: change.ver)
    told = [said for life in lives.values() for said in _life(life)]
    items: dict[str, list[list[Change]]] = defaultdict(list)
    for _, life in sorted(lives.items()):
        items[life[0].item].append(life)
    told += [said for item, its in items.items() for said in _item(item, its)]
    told += _order(items, enqueued)
    told += _nothing_lost(lives, enqueued, drained)
    told += _answers(lives, settled)
    told += _cancels(lives, cancels)
    return told


def _life(life: list[Change]) -> Iterable[str]:
    """I2, I7, I8: one revision's path is legal and whole, its attempts are counted honestly, its tokens are new."""
    who = f"revision {life[0].revision}"
    if [change.ver for change in life] != list(range(1, len(life) + 1)):
        yield f"{who}: changes are missing or doubled: {[change.ver for change in life]}"
        return
    tokens: set[str | None] = set()
    for before, change in pairwise([None, *life]):
        assert change is not None
        if change.before != (before.after if before else None):
            yield f"{who}: {change.before} at version {change.ver}, but it was {before and before.after}"
        if change.before in ENDS:
            yield f"{who}: changed after its end ({change.before} to {change.after})"
        elif (change.before, change.after) not in LEGAL:
            yield f"{who}: illegal change from {change.before} to {change.after}"
        if before is None:
            continue
        if before.asked and (change.before, change.after) in {("processing", "failed"), ("processing", "pending")}:
            yield f"{who}: was asked to cancel, and is {change.after}"
        yield from (f"{who}: {said}" for said in _counts(before, change))
        if change.before != "processing" and change.after == "processing":
            if change.token is None or change.token in tokens:
                yield f"{who}: claimed twice with token {change.token}"
            tokens.add(change.token)
        elif change.after == "processing" and change.token != before.token:
            yield f"{who}: its token changed while processing"


def _counts(before: Change, change: Change) -> Iterable[str]:
    attempts, crashes = change.attempt - before.attempt, change.crashes - before.crashes
    match (change.before, change.after):
        case ("processing", "processing"):
            allowed = {(0, 0)}
        case (_, "processing"):
            allowed = {(1, 0)}
        case ("processing", "pending"):
            allowed = {(0, 0), (0, 1), (-1, 0)}
        case ("processing", "failed"):
            allowed = {(0, 0), (0, 1)}
        case ("processing", "cancelled"):  # of an attempt that crashed, or had not begun
            allowed = {(0, 0), (0, 1), (-1, 0)}
        case _:
            allowed = {(0, 0)}
    if (attempts, crashes) not in allowed:
        yield f"{change.before} to {change.after} counted {attempts} attempts and {crashes} crashes"


def _runs(life: list[Change]) -> list[tuple[float, float]]:
    """When the revision was processing: from its claims to the ends of those attempts (without an end: for ever)."""
    runs: list[tuple[float, float]] = []
    for change in life:
        if change.after == "processing" and change.before != "processing":
            runs.append((change.at, float("inf")))
        elif change.before == "processing" and change.after != "processing" and runs:
            runs[-1] = (runs[-1][0], change.at)
    return runs


def _item(item: str, lives: list[list[Change]]) -> Iterable[str]:
    """I5, I6: one processing at a time, and numbers 1, 2, 3 in the order of completion."""
    runs = sorted((*run, life[0].revision) for life in lives for run in _runs(life))
    for first, second in pairwise(runs):
        if second[0] < first[1]:
            yield f"item {item}: revisions {first[2]} and {second[2]} were processing at the same time"
    ends = sorted((life[-1].at, life[-1].number) for life in lives if life[-1].after == "completed")
    if [number for _, number in ends] != list(range(1, len(ends) + 1)):
        yield f"item {item}: completed revisions are numbered {[number for _, number in ends]}"


def _order(items: dict[str, list[list[Change]]], enqueued: Sequence[Enqueued]) -> Iterable[str]:
    """P3: what was committed before a revision was inserted, or came before it there, ends before it starts."""
    acknowledged = {id_: each.acknowledged for each in enqueued for id_ in each.ids}
    batch = {id_: number for number, each in enumerate(enqueued) for id_ in each.ids}
    for item, lives in items.items():
        for place, life in enumerate(lives):
            later = life[0]
            runs = _runs(life)
            if not runs:
                continue
            for other in lives[:place]:
                first = other[0]
                known = acknowledged.get(first.revision)
                together = first.revision in batch and batch[first.revision] == batch.get(later.revision)
                if first.after != "pending" or not (together or (known is not None and known < later.at)):
                    continue
                if other[-1].after not in ENDS or other[-1].at > runs[0][0]:
                    yield f"item {item}: revision {later.revision} started before {first.revision} had ended"


def _nothing_lost(lives: dict[int, list[Change]], enqueued: Sequence[Enqueued], drained: bool) -> Iterable[str]:
    """I1: what was acknowledged is there and ends; what was rolled back never was."""
    for each in enqueued:
        for id_ in each.ids:
            if each.rolled_back and id_ in lives:
                yield f"revision {id_}: was rolled back and is there"
            if not each.rolled_back and each.acknowledged is not None and id_ not in lives:
                yield f"revision {id_}: was acknowledged and is lost"
    if drained:
        for id_, life in lives.items():
            if life[-1].after not in ENDS:
                yield f"revision {id_}: never ended, it is {life[-1].after}"


def _answers(lives: dict[int, list[Change]], settled: Sequence[Settled]) -> Iterable[str]:
    """I4: an outcome that was said to be written is in the history, and one that was refused is not."""
    for each in settled:
        after = "pending" if each.verdict in {"retried", "released"} else each.verdict
        ends = 0
        for before, change in pairwise(lives.get(each.revision, [])):
            ends += before.token == each.token and (change.before, change.after) == ("processing", after)
        if each.written and ends != 1:
            yield f"revision {each.revision}: {each.verdict} was acknowledged and written {ends} times"
        if each.written is False and ends and after != "pending":  # a rescue writes 'pending' with the same token
            yield f"revision {each.revision}: {each.verdict} was refused and written"


def _cancels(lives: dict[int, list[Change]], cancels: Sequence[Told]) -> Iterable[str]:
    """Whoever cancels is told the truth: there is one end, it is the one that they saw, and it fits the answer."""
    fits = {"cancelled": {"cancelled"}, "asked": {"cancelled", "completed"}, "ended": ENDS}
    for each in cancels:
        ends = [change.after for change in lives.get(each.revision, []) if change.before not in ENDS]
        ends = [after for after in ends if after in ENDS]
        if ends != [each.seen] or each.seen not in fits[each.answer]:
            yield f"revision {each.revision}: its canceller was told {each.answer}, saw {each.seen}; it ended {ends}"
