"""CROWD: what those who only look, and a flood of webhooks, take from those who work.

Owns: that workload. Handlers of 5 ms in order, on one pool with its API, by turns alone, and beside idle event streams
and deliveries as fast
as they are taken. Invariant: every delivery that was answered 202 is in the table.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from typing import Any

from workerpool.bench import fillings
from workerpool.bench.ground import Ground
from workerpool.bench.record import Unverified, rate, verify
from workerpool.bench.response import at_rest
from workerpool.bench.run import LIMIT, performing, settled
from workerpool.bench.sizes import Sizes

SLEEP, DEPTH, STREAMS, SENDERS = 0.005, 20, 200, 4
#: Whoever sends would be on another machine: here it takes what nobody else wants.
MEEK = 19


def crowd(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Perform short handlers alone and beside a crowd, by turns."""
    port, count = _free_port(), max(sizes.short // DEPTH, 4) * DEPTH
    pairs: list[tuple[float, float]] = []
    flooded: list[tuple[int, float]] = []
    with ground.database() as database:
        api: dict[str, Any] = {"http": f"127.0.0.1:{port}", "unhandled_after": "30d"}
        with performing(ground, database, sleep=SLEEP, **api) as (_, record):
            at_rest(database, ground.workers)
            _await(port)

            def perform() -> float:
                done = len(record.events())
                database.ask(fillings.in_turn(count // DEPTH, DEPTH))
                return rate(sorted(record.wait(done + count, LIMIT), key=lambda event: event.start)[-count:])

            for pair in range(sizes.pairs + 1):  # the first one warms everything up
                before = perform() if pair % 2 else 0.0
                with _streams(port), _flood(port) as end:
                    began = time.monotonic()
                    beside = perform()
                    flooded.append((end(), time.monotonic() - began))
                alone = before or perform()
                if pair:
                    pairs.append((beside, alone))
            settled(database, 2 * count * (sizes.pairs + 1))
        sent = sum(taken for taken, _ in flooded)
        there = database.number("SELECT count(*) FROM workerpool.revisions WHERE status = 'scheduled'")
        if there < sent:
            raise Unverified(f"{sent} deliveries were answered 202, and {there:.0f} are in the table")
        verify(database, record.events(), whole=False)
    return {
        "alone_per_second": statistics.median(alone for _, alone in pairs),
        "ratio": statistics.median(beside / alone for beside, alone in pairs),
        "deliveries_per_second": sent / sum(passed for _, passed in flooded),
        "streams": float(STREAMS),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int) -> None:
    deadline = time.monotonic() + 30.0
    while True:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        if time.monotonic() > deadline:
            raise Unverified("the API did not answer within 30 s; pip install 'workerpool[web]'")
        time.sleep(0.1)


@contextmanager
def _streams(port: int) -> Iterator[None]:
    """Have event streams open which nobody reads."""
    with ExitStack() as kept:
        for _ in range(STREAMS):
            stream = kept.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            stream.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            if not stream.recv(100).startswith(b"HTTP/1.1 200"):
                raise Unverified("an event stream was refused")
        yield


@contextmanager
def _flood(port: int) -> Iterator[Callable[[], int]]:
    """Send deliveries from processes of their own; calling what is yielded ends them, and says how many were taken."""
    kind = multiprocessing.get_context("spawn")
    pairs = [kind.Pipe() for _ in range(SENDERS)]
    senders = [kind.Process(target=send, args=(port, theirs), daemon=True) for _, theirs in pairs]
    for sender in senders:
        sender.start()
    taken: list[int] = []

    def end() -> int:
        for ours, _ in pairs:
            ours.send("stop")
        taken.extend(ours.recv() for ours, _ in pairs)
        return sum(taken)

    for ours, _ in pairs:
        ours.recv()  # each has sent one
    try:
        yield end
    finally:
        for sender in senders:
            sender.terminate()
            sender.join()


def send(port: int, told: Connection) -> None:
    """Be a process that sends deliveries, each an edit for tomorrow, until it is told to stop."""
    os.nice(MEEK)
    connection, taken = HTTPConnection("127.0.0.1", port, timeout=30), 0
    edit = {"item_key": f"sender-{os.getpid()}", "handler": "nobody", "run_at": "+1d", "text": "from outside"}
    body = json.dumps(edit)
    while not (taken and told.poll()):
        connection.request("POST", "/webhook/trigger-edit-processing", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        taken += answer.status == 202
        if taken == 1:
            told.send("begun")
    told.send(taken)
