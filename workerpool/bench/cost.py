"""COST: where the time and the WAL of a turn go, statement by statement and record by record.

Owns: that workload. Turns of one client over a worker's own line, on an embedded server of its own that counts what
each statement inside of the functions takes (pg_stat_statements) and reads its own WAL (pg_walinspect); counting adds
some microseconds to each statement. Invariant: what is not a known statement is told as the rest, so that the parts
add up.
"""

from __future__ import annotations

import time

from workerpool.bench import fillings
from workerpool.bench.ground import Database, Ground, Settings, standing_apart
from workerpool.bench.guard import Claimer
from workerpool.bench.record import Unverified
from workerpool.bench.sizes import Sizes
from workerpool.core.pace import MOST

COUNTING: Settings = (
    ("shared_preload_libraries", "pg_stat_statements"),
    ("pg_stat_statements.track", "all"),
    ("pg_stat_statements.max", "1000"),
)
#: A part of a turn, and what its statement has that no other one has; the first that fits counts.
PARTS = (
    ("settle", "SET status = $1, lease_expires_at = $2, result"),
    ("settle", "SET status = 'completed'"),
    ("claim", "lease_expires_at = instant + lease_for"),
    ("heads", "FILTER (WHERE c.is_head)"),
    ("item_locks_of_claim", "FILTER (WHERE l.got)"),
    ("candidates", "bool_or(c.crash_count"),
    ("pause_and_successor", "pause_state"),
    ("successors", "SELECT DISTINCT i AS item_key"),
    ("item_locks_of_settle", "item_lock(r.item_key)"),
)
TOP = "workerpool.turn("
_STATEMENTS = "SELECT query, toplevel, total_exec_time * 1000 FROM cost.pg_stat_statements"
_RECORDS = """
SELECT CASE WHEN "resource_manager/record_type" LIKE 'Heap%%' THEN 'table'
            WHEN "resource_manager/record_type" LIKE 'Btree%%' THEN 'indexes'
            WHEN "resource_manager/record_type" LIKE 'Transaction%%' THEN 'commits' ELSE 'other' END,
       sum(record_size), sum(fpi_size)
FROM cost.pg_get_wal_stats(%s::pg_lsn, %s::pg_lsn, true) GROUP BY 1
"""


def cost(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Take turns of as many revisions as fit, and of one revision of a hot item, and say where it all went."""
    found: dict[str, float] = {}
    with standing_apart(ground, COUNTING) as apart:
        for name, filling, at_once in (("batch", fillings.independent, MOST), ("hot", fillings.hot, 1)):
            turns = max(sizes.turns if at_once > 1 else 4 * sizes.turns, 20)
            with apart.database() as database:
                database.ask("CREATE SCHEMA cost")
                for extension in ("pg_stat_statements", "pg_walinspect"):
                    database.ask(f"CREATE EXTENSION {extension} SCHEMA cost")
                database.fill(filling((turns + 40) * at_once))
                parts = _turns(database, at_once, turns)
            found |= {f"{name}_{part}": value for part, value in parts.items()}
    return found


def _turns(database: Database, at_once: int, turns: int) -> dict[str, float]:
    """Return the microseconds of each part of a turn, and the bytes of WAL, for each revision."""
    claimer = Claimer(database)
    try:
        claimer.round(20, settling=True, how_many=at_once)  # plans are made
        database.ask("SELECT cost.pg_stat_statements_reset()")
        before, began = _place(database), time.perf_counter()
        claimer.round(turns, settling=True, how_many=at_once)
        passed, after = time.perf_counter() - began, _place(database)
    finally:
        claimer.line.close()
    revisions = turns * at_once
    spent = _spent(database)
    parts = {f"{name}_us": value / revisions for name, value in spent.items()}
    parts["outside_of_the_statement_us"] = passed * 1e6 / revisions - sum(parts.values())
    for kind, size, images in database.ask(_RECORDS, before, after):
        parts[f"{kind}_bytes"] = float(size) / revisions
        parts["full_pages_bytes"] = parts.get("full_pages_bytes", 0.0) + float(images) / revisions
    return parts


def _place(database: Database) -> str:
    return str(database.ask("SELECT pg_current_wal_flush_lsn()")[0][0])


def _spent(database: Database) -> dict[str, float]:
    """Return the microseconds of each part of `turn`, and as the rest what runs between its statements."""
    spent: dict[str, float] = {}
    total = 0.0
    for query, top, micros in database.ask(_STATEMENTS):
        if top and TOP in query.replace('"', ""):
            total += float(micros)
        elif not top:
            part = next((name for name, mark in PARTS if mark in query), None)
            if part is not None:
                spent[part] = spent.get(part, 0.0) + float(micros)
    if not total or len(spent) < 4:
        raise Unverified(f"the statements of a turn were not found among {len(spent)} known ones")
    return spent | {"between_the_statements": total - sum(spent.values())}
