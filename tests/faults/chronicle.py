"""What a run under faults leaves behind, and what must hold of it: the checker of all that is not in one row's history.

Owns: the effects and leases that are recorded beside ``tests.store.history``, and the clients' and the nemesis's notes.
Does not own: making trouble. What is recorded outside the database is timed by CLOCK_MONOTONIC, which all processes of
one machine share; what is compared with rows by the machine's clock, which is the server's too.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import psycopg

from tests.process.daemon import Daemon
from tests.store import history
from tests.store.history import Change, Enqueued, Told, violations

RECORD = """
CREATE TABLE public.effects (revision bigint, item text, attempt integer, place integer);
CREATE TABLE public.lease_history (revision bigint, claim_token uuid, before timestamptz, after timestamptz);
CREATE FUNCTION public.record_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.lease_history VALUES (NEW.id, NEW.claim_token, OLD.lease_expires_at, NEW.lease_expires_at);
    RETURN NULL; END $$;
CREATE TRIGGER zz_lease AFTER UPDATE ON workerpool.revisions FOR EACH ROW
    WHEN (OLD.claim_token = NEW.claim_token AND OLD.lease_expires_at IS DISTINCT FROM NEW.lease_expires_at
          AND NEW.lease_expires_at IS NOT NULL)
    EXECUTE FUNCTION public.record_lease();
"""


#: Seconds after which a pid may be another process's: neither was silent nor stood still for so long.
SILENT, STOOD_STILL = 10.0, 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a handler: from its begin to its end, to the kill of its process, or to the last time it was seen
    alive; seconds of CLOCK_MONOTONIC.

    ``until`` is None where none of these is known.
    """

    revision: int
    item: str
    attempt: int
    pid: int
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Lease:
    """A change of the end of a lease within one claim."""

    revision: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Effect:
    """A row that a handler wrote in the transaction of its outcome; ``place`` is its number in its item."""

    revision: int
    item: str
    attempt: int
    place: int


@dataclass(slots=True)
class Notes:
    """What the clients and the nemesis wrote down."""

    enqueued: list[Enqueued] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    #: When processes were sent SIGKILL, by CLOCK_MONOTONIC; the system gives their pids to others.
    killed: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: When processes were stopped for a while: what they do afterwards, they do as ghosts.
    stopped: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: From a pause's acknowledgement until its resume was sent.
    pauses: list[tuple[float, float]] = field(default_factory=list)


def record(url: str) -> None:
    """Start recording in a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        history.record(connection)
        connection.execute(RECORD)


def runs(daemons: Iterable[Daemon], killed: Mapping[int, Sequence[float]]) -> list[Run]:
    """Return every call of the handler, from the daemons' journals."""
    found = []
    for daemon in daemons:
        begun: dict[tuple[str, ...], tuple[float, str]] = {}
        seen: dict[tuple[str, ...], float] = {}
        lines = daemon.journal.read_text().splitlines() if daemon.journal.exists() else []
        for word, revision, attempt, pid, at, item in (line.split(" ", 5) for line in lines):
            if word == "begin":
                begun[revision, attempt, pid] = float(at), item
            elif word == "alive":
                seen[revision, attempt, pid] = float(at)
            else:
                since, _ = begun.pop((revision, attempt, pid))
                found.append(Run(int(revision), item, int(attempt), int(pid), since, float(at)))
        for (revision, attempt, pid), (since, item) in begun.items():
            last = seen.get((revision, attempt, pid))
            alive = last or since
            until = min((each for each in killed.get(int(pid), ()) if alive <= each <= alive + SILENT), default=last)
            found.append(Run(int(revision), item, int(attempt), int(pid), since, until))
    return sorted(found, key=lambda run: run.since)


def enqueue(
    connection: psycopg.Connection, notes: Notes, rows: Sequence[tuple[str, str]], handler: str = "mark"
) -> list[int]:
    """Insert revisions, (item, payload), in one transaction, and note what was acknowledged.

    Raises psycopg.OperationalError where the answer was lost: nobody knows then whether they are there.
    """
    items, payloads = zip(*rows, strict=True)
    found = connection.execute(
        "INSERT INTO workerpool.revisions (item_key, handler, payload) "
        "SELECT i, %s, p::jsonb FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS u (i, p, n) ORDER BY n "
        "RETURNING id",
        [handler, list(items), list(payloads)],
    ).fetchall()
    ids = [row[0] for row in found]
    notes.enqueued.append(Enqueued(tuple(ids), time.time()))
    return ids


def check(url: str, daemons: Sequence[Daemon], notes: Notes, *, drained: bool = True) -> list[str]:
    """Return everything that should not have happened, as sentences."""
    with psycopg.connect(url, autocommit=True) as connection:
        changes = history.changes(connection)
        effects = [Effect(*row) for row in connection.execute("SELECT * FROM public.effects")]
        leases = [
            Lease(*row)
            for row in connection.execute(
                "SELECT revision, extract(epoch FROM before)::float8, extract(epoch FROM after)::float8 "
                "FROM public.lease_history"
            )
        ]
        marks = {row[0] for row in connection.execute("SELECT id FROM workerpool.revisions WHERE handler = 'mark'")}
    calls = runs(daemons, notes.killed)
    return [
        *violations(changes, notes.enqueued, cancels=notes.told, drained=drained),
        *of_effects([change for change in changes if change.revision in marks], effects),
        *of_runs(calls, notes.stopped),
        *of_leases(leases),
        *of_pauses(changes, notes.pauses),
    ]


def of_effects(changes: Sequence[Change], effects: Sequence[Effect]) -> Iterator[str]:
    """I4, I5: each completed revision has one effect, of its last attempt, in its item's order; no other has one."""
    ends = {
        change.revision: change for change in changes if change.after == "completed" and change.before != "completed"
    }
    written: dict[int, list[Effect]] = defaultdict(list)
    for effect in effects:
        written[effect.revision].append(effect)
    for revision, its in written.items():
        end = ends.get(revision)
        if end is None:
            yield f"revision {revision}: has an effect and did not complete"
        elif [each.attempt for each in its] != [end.attempt]:
            yield f"revision {revision}: completed by {end.attempt}, effects of {[each.attempt for each in its]}"
        elif its[0].place != end.number:
            yield f"revision {revision}: number {end.number} of {its[0].item}, its effect is the {its[0].place}th"
    for revision in ends.keys() - written.keys():
        yield f"revision {revision}: completed without its effect"


def of_runs(calls: Sequence[Run], stopped: Mapping[int, Sequence[float]]) -> Iterator[str]:
    """I3, I5, I6: of an item at most one handler runs at a time, ghosts of processes that were stopped aside."""
    items: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(calls, key=lambda run: run.since):
        until = float("inf") if run.until is None else run.until
        if not any(run.since - STOOD_STILL <= each <= until for each in stopped.get(run.pid, ())):
            items[run.item].append(run)
    for item, its in items.items():
        for first, second in pairwise(its):
            if first.until is not None and second.since < first.until:
                yield (
                    f"item {item}: revision {second.revision} began in process {second.pid} "
                    f"{first.until - second.since:.3f} s before {first.revision} ended in {first.pid}"
                )


def of_leases(leases: Iterable[Lease]) -> Iterator[str]:
    """I17: within a claim a lease never ends earlier than it did."""
    for each in leases:
        if each.after < each.before:
            yield f"revision {each.revision}: its lease moved back by {each.before - each.after:.3f} s"


def of_pauses(changes: Iterable[Change], pauses: Sequence[tuple[float, float]]) -> Iterator[str]:
    """I19: nothing is claimed from a pause's acknowledgement until its resume."""
    for change in changes:
        if change.after == "processing" and change.before == "pending":
            for since, until in pauses:
                if since < change.at < until:
                    yield f"revision {change.revision}: claimed {change.at - since:.3f} s after a pause"


class Transactions(threading.Thread):
    """Samples how long the pool's transactions are (I14) and how many sessions it has (I13)."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self._over = url, threading.Event()
        self.longest, self.sessions, self.looks = 0.0, 0, 0

    def run(self) -> None:
        """Look until stopped."""
        text = (
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8, count(*)::int "
            "FROM pg_stat_activity WHERE application_name LIKE 'workerpool%' AND datname = current_database()"
        )
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._over.wait(0.02):
                longest, sessions = connection.execute(text).fetchone() or (0.0, 0)
                self.longest, self.sessions = max(self.longest, longest), max(self.sessions, sessions)
                self.looks += 1

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()
