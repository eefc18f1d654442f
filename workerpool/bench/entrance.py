"""W6: putting revisions in, one commit each and many at once.

Owns: that workload. Invariant: nothing else runs on the database, and all that was put in is counted there.
"""

from __future__ import annotations

import subprocess
import sys
import time

from workerpool.bench.floor import Pgbench
from workerpool.bench.ground import SCHEMA, Database, Ground
from workerpool.bench.record import Unverified
from workerpool.bench.sizes import Sizes
from workerpool.client import Client, NewRevision

CLIENTS = 2
#: What a process that enqueues does: it connects, waits for the word, enqueues, and says how long that took.
ENQUEUE = """
import sys, time
from workerpool.client import Client
url, schema, count, name = sys.stdin.readline().split("\\t")
with Client(url, schema) as client:
    client.enqueue(name.strip() + "first")
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.time()
    for number in range(int(count)):
        client.enqueue(f"{name.strip()}{number}")
    print(began, time.time(), flush=True)
"""
INSERT = (
    "\\set n random(1, 1000000000)\nINSERT INTO workerpool.revisions (item_key) VALUES ('i' || (:n::bigint)::text);\n"
)


def enqueueing(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Enqueue by `Client.enqueue` in two processes, by plain SQL with two clients, and by `Client.enqueue_many`."""
    with ground.database() as database:
        figures = {"client_per_second": _by_client(database, sizes.singles // CLIENTS)}
        _expect(database, (sizes.singles // CLIENTS + 1) * CLIENTS)
    pgbench = Pgbench.found(ground)
    if pgbench is not None:
        with ground.database() as database:
            figures["sql_per_second"] = pgbench.rate(database, INSERT, CLIENTS, sizes.singles // CLIENTS)
            _expect(database, sizes.singles // CLIENTS * CLIENTS)
    with ground.database() as database, Client(database.url, SCHEMA) as client:
        new = [NewRevision(f"i{number}") for number in range(sizes.bulk)]
        database.settle_down()
        began = time.monotonic()
        client.enqueue_many(new)
        figures["many_per_second"] = sizes.bulk / (time.monotonic() - began)
        _expect(database, sizes.bulk)
    return figures


def _by_client(database: Database, each: int) -> float:
    processes = [
        subprocess.Popen([sys.executable, "-c", ENQUEUE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(CLIENTS)
    ]
    try:
        for place, process in enumerate(processes):
            _say(process, f"{database.url}\t{SCHEMA}\t{each}\tc{place}.\n")
        for process in processes:
            _hear(process)
        for process in processes:
            _say(process, "go\n")
        times = [[float(word) for word in _hear(process).split()] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return CLIENTS * each / (max(end for _, end in times) - min(began for began, _ in times))


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise Unverified(f"a process that enqueues ended with code {process.wait()}")
    return line


def _expect(database: Database, count: int) -> None:
    if (found := database.number("SELECT count(*) FROM workerpool.revisions")) != count:
        raise Unverified(f"{found:.0f} of {count} revisions were enqueued")
