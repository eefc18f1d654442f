"""The processes of test_many_processes: ``python -m tests.store.racer KIND URL LOG SEED NUMBER``.

A worker takes turns until its standard input ends; an inserter inserts NUMBER revisions. Each writes what it was told
to its own log, one JSON object a line, so that a kill at any moment leaves a truthful log.
"""

import json
import os
import random
import sys
import time
from datetime import timedelta
from typing import Any

import psycopg

from tests.store.driving import Held, Session
from workerpool.core.outcome import Outcome

LEASE = 0.5
ITEMS = [f"hot{n}" for n in range(4)] * 5 + [f"item{n}" for n in range(40)]
HANDLERS = (("x", "y"), ("x", "y"), ("y", "x"), ("x",), ("y",))


class Log:
    """An append-only file of facts."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **fact: Any) -> None:
        """Write one fact, whole."""
        os.write(self._file, json.dumps(fact).encode() + b"\n")


def verdict_for(held: Held, chance: random.Random) -> Outcome:
    """How the attempt of *held* ends."""
    draw = chance.random()
    if draw < 0.86:
        return Outcome(held.id, held.token, "completed", result=json.dumps({"attempt": held.attempt}))
    if draw < 0.90:
        return Outcome(held.id, held.token, "failed", message="broken", kind="error")
    if draw < 0.95:
        delay = timedelta(seconds=chance.choice((0, 0.001, 0.03)))
        return Outcome(held.id, held.token, "retried", message="once more", kind="error", delay=delay)
    return Outcome(held.id, held.token, "released")


def work(url: str, log: Log, chance: random.Random) -> None:
    """Take turns; sometimes so slowly that the lease runs out meanwhile."""
    os.set_blocking(0, False)
    with Session(url, f"w/{os.getpid()}.1") as session:
        held: list[Held] = []
        while True:
            try:
                if os.read(0, 1) == b"":
                    break
            except BlockingIOError:
                pass
            outcomes = [verdict_for(each, chance) for each in held]
            sent = [[o.revision_id, str(o.token), o.verdict] for o in outcomes]
            if sent:
                log.write(sent=sent)
            try:
                held = session.turn(
                    *outcomes, how_many=chance.randint(1, 20), sharers=4, handlers=chance.choice(HANDLERS), lease=LEASE
                )
            except psycopg.Error as error:
                log.write(error=repr(error))
                raise
            if sent:
                log.write(sent=sent, written=sorted(session.settled))
            if not held:
                time.sleep(0.002 if session.answer == "contended" else 0.01)
            elif chance.random() < 0.004:
                time.sleep(LEASE * 1.4)  # a ghost in the making
            elif chance.random() < 0.2:
                time.sleep(chance.random() * 0.01)
        session.settle(*(Outcome(each.id, each.token, "released") for each in held))


def insert(url: str, log: Log, chance: random.Random, number: int) -> None:
    """Insert in transactions of several sizes and lengths; some are rolled back."""
    with Session(url, "inserter") as session:
        while number > 0:
            ids: list[int] = []
            session.begin()
            for _ in range(chance.choice((1, 1, 2, 4))):
                items = [chance.choice(ITEMS) for _ in range(chance.choice((1, 1, 3, 8)))]
                ids += session.insert(*items, handler=chance.choice("xxy"), priority=chance.choice((0, 0, 0, 5)))
                if chance.random() < 0.1:
                    time.sleep(chance.random() * 0.06)
            if chance.random() < 0.12:
                session.sql("ROLLBACK")
                log.write(ids=ids, rolled_back=True)
                continue
            session.commit()
            log.write(ids=ids, acknowledged=time.time())
            number -= len(ids)


if __name__ == "__main__":
    kind, url, path, seed, number = sys.argv[1:]
    if kind == "worker":
        work(url, Log(path), random.Random(int(seed)))
    else:
        insert(url, Log(path), random.Random(int(seed)), int(number))
