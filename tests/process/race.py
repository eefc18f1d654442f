"""Rounds of a race for an attempt's end, and what must hold after them, whoever won.

Owns: the moment at which a contender acts, the lanes that play, and the comparison of everything that was recorded: the
history of the rows, both logs, and what the handlers noted. Does not own: the contenders.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.process.daemon import Daemon, until
from tests.store import history
from tests.store.history import Change, Enqueued, Told, violations
from workerpool.store.changing import cancel
from workerpool.store.session import Session

WORKERS = 4
#: What the log says of the end of an attempt that did not complete.
ENDINGS = {"failed", "retried", "cancelled", "crashed", "timed_out", "poisoned", "rescued", "limited"}


@dataclass
class Moment:
    """When one side acts, in seconds from the end of the handler; moved by each round towards the other side."""

    offset: float
    step: float
    spread: float
    won: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> float:
        """Return when to act in this round."""
        return self.offset + random.uniform(-self.spread, self.spread)

    def learn(self, *, contender: bool) -> None:
        """The contender has won this round, or the completion has."""
        with self._lock:
            self.won["contender" if contender else "completion"] += 1
            self.offset += self.step if contender else -self.step

    def assert_both_won(self) -> None:
        """A race that only one side wins proves nothing."""
        assert min(self.won["contender"], self.won["completion"]) > 0, self


class Journal:
    """What the handlers noted, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._lock = path, 0, threading.Lock()
        self._begun: dict[int, tuple[int, float]] = {}

    def begun(self, revision: int) -> tuple[int, float] | None:
        """Return the process in which the last attempt of a revision began, and when."""
        with self._lock:
            if self._path.exists():
                data = self._path.read_bytes()
                new = data[self._read : data.rfind(b"\n") + 1]
                self._read += len(new)
                for word, id_, _, pid, at in (line.split() for line in new.splitlines()):
                    if word == b"begin":
                        self._begun[int(id_)] = int(pid), float(at)
            return self._begun.get(revision)


class Ring:
    """Where the rounds are played: a daemon, and lanes that play one round after the other."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.journal = daemon, Journal(daemon.journal)
        assert daemon.url is not None
        self.url = daemon.url
        self.enqueued: list[Enqueued] = []
        self.told: list[Told] = []
        self.buried: list[int] = []
        with psycopg.connect(self.url) as connection:
            history.record(connection)

    def play(self, rounds: int, one: Callable[[Lane, int], None]) -> None:
        """Play so many rounds, as many at a time as there are workers, and let everything end."""
        numbers = itertools.count()

        def lane(place: int) -> None:
            with closing(Session(self.url, "workerpool", f"lane {place}")) as session:
                while (number := next(numbers)) < rounds:
                    one(Lane(self, session, f"page {place}.{number % 5}"), number)

        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(lane, range(WORKERS)))
        until(lambda: not self.daemon.sql("SELECT 1 FROM revisions WHERE completed_at IS NULL"), 60.0, "all ended")
        assert self.daemon.stop() == 0

    def check(self) -> list[dict[str, Any]]:
        """Each revision has one end, which everybody tells alike; returns the rows."""
        with psycopg.connect(self.url) as connection:
            changes = history.changes(connection)
        assert violations(changes, self.enqueued, cancels=self.told) == []
        rows = self.daemon.sql("SELECT * FROM revisions ORDER BY id")
        lines = self.daemon.sql("SELECT revision_id FROM execution_log WHERE data ? 'kind'")
        lives = {row["id"]: [change for change in changes if change.revision == row["id"]] for row in rows}
        others = {id_: sum(map(_another_end, itertools.pairwise(life))) for id_, life in lives.items()}
        written = Counter(line["revision_id"] for line in lines)
        assert {id_: n for id_, n in others.items() if n} == dict(written), (
            "the execution log has one line for each end"
        )
        logged = Counter(_ends_logged(self.daemon)) + Counter(self.buried)
        assert +logged == written, "the daemon's log has one line for each end"
        claims = {id_: sum(c.before == "pending" and c.after == "processing" for c in lives[id_]) for id_ in lives}
        begins, ends = (Counter(int(entry[1]) for entry in self.daemon.entries(word)) for word in ("begin", "end"))
        assert all(ends[id_] <= begins[id_] <= claims[id_] for id_ in lives), "no attempt without a claim"
        finished = {(int(entry[1]), int(entry[2])) for entry in self.daemon.entries("end")}
        for row in rows:
            if row["status"] == "completed":
                assert row["result"] == {"attempt": row["attempt"]}, "its own attempt's result"
                assert (row["id"], row["attempt"]) in finished
                assert row["error_kind"] is None or row["crash_count"] or row["attempt"] > 1
            else:
                assert (row["result"], row["revision_number"]) == (None, None)
        return rows


def _another_end(step: tuple[Change, Change]) -> bool:
    """Tell whether a change is the end of an attempt that did not complete and was not given back unharmed."""
    before, after = step
    refunded = after.attempt < before.attempt and after.after == "pending"
    return before.after == "processing" and after.after in {"failed", "cancelled", "pending"} and not refunded


def _ends_logged(daemon: Daemon) -> Iterator[int]:
    """Yield the revision of each end in the log; what a worker said and the database refused is taken out."""
    refused = Counter(e["revision_id"] for e in daemon.events("revision.fenced") if e["verdict"] in ENDINGS)
    for line in daemon.text().splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event", "").removeprefix("revision.") in ENDINGS and "revision_id" in event:
            if refused[event["revision_id"]]:
                refused[event["revision_id"]] -= 1
            else:
                yield event["revision_id"]


@dataclass
class Lane:
    """One round: a revision, and the one who races its completion."""

    ring: Ring
    session: Session
    item: str

    def insert(self, seconds: float, columns: str = "", **payload: object) -> int:
        """Enqueue a revision whose handler takes so long."""
        names, values = ("handler, payload, item_key", "'race', %s, %s")
        if columns:
            names, values = f"{names}, timeout_seconds, max_attempts", f"{values}, {columns}, 1"
        text = f"INSERT INTO workerpool.revisions ({names}) VALUES ({values}) RETURNING id"
        given = [json.dumps({"seconds": seconds, **payload}), self.item]
        row = self.session.connection.execute(text.encode(), given).fetchone()
        assert row is not None
        self.ring.enqueued.append(Enqueued((row[0],), time.time()))
        return int(row[0])

    def at_the_end(self, revision: int, seconds: float, moment: Moment) -> int:
        """Wait until it is about to end, and return its process."""
        pid, at = until(lambda: self.ring.journal.begun(revision), what=f"{revision} begun\n{self.ring.daemon.tail()}")
        time.sleep(max(0.0, at + seconds + moment.next() - time.monotonic()))  # the moment is what is varied
        return pid

    def ended(self, revision: int, where: str = "completed_at IS NOT NULL") -> tuple[Any, ...]:
        """Wait for the end, or for another fact; returns status, attempt, crashes and kind of error."""
        text = "SELECT status, attempt, crash_count, error_kind FROM workerpool.revisions WHERE id = %s AND " + where
        connection = self.session.connection
        found = until(lambda: connection.execute(text.encode(), [revision]).fetchone(), what=f"{revision}: {where}")
        assert found is not None
        return found

    def cancel(self, revision: int, *, by_stamp: bool) -> str:
        """Want it cancelled, in one of two ways; returns what was answered."""
        if not by_stamp:
            return cancel(self.session, [revision], "test")[0].answer
        stamp = b"UPDATE workerpool.revisions SET cancel_requested_at = now() WHERE id = %s RETURNING status"
        try:
            row = self.session.connection.execute(stamp, [revision]).fetchone()
        except psycopg.errors.IntegrityConstraintViolation:  # a finished revision does not change
            return "ended"
        assert row == ("processing",)
        return "asked"

    def bury(self, revision: int) -> bool:
        """Say that its worker is dead, as a keeper that is mistaken would; tells whether that counted."""
        bury = """
            SELECT cardinality(s.settled) FROM workerpool.revisions r, workerpool.settle(
                ARRAY[r.id], ARRAY[r.claim_token], '{retried}', '{NULL}', '{mistaken}', '{crash}', '{0}', '{true}') s
            WHERE r.id = %s AND r.status = 'processing'"""
        row = self.session.connection.execute(bury.encode(), [revision]).fetchone()
        counted = row == (1,)
        if counted:
            self.ring.buried.append(revision)
        return counted
