"""The one-shot child that makes the database ready: ``python -m workerpool.keeper.prepare`` (R29).

Owns: waiting for the database, migrating, and giving back what dead managers of this home held. Exits 0, 69 (no
database), 78 (schema or
configuration), 1. Invariant: no row of a dead manager is given back before its last process is gone.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from workerpool import logs
from workerpool.core.briefs import PrepareBrief, from_message
from workerpool.core.outcome import released
from workerpool.link import tether
from workerpool.link.channel import Channel
from workerpool.store.connection import is_exposed
from workerpool.store.line import Line, LineLost, StatementRefused
from workerpool.store.session import Session
from workerpool.store.versions import newest

log = logs.get("prepare")
EXIT_NO_DATABASE, EXIT_CONFIG = 69, 78
USE_TLS = "add sslmode=verify-full to WORKERPOOL_DATABASE_URL: rows and the password cross the network as they are"


def main() -> int:
    """Make everything ready once; returns the exit code."""
    message = Channel.inherited().brief()
    if message is None:
        return 0
    brief = from_message(PrepareBrief, message)
    logs.configure(brief.log_level, brief.log_format, file=Path(brief.log_file) if brief.log_file else None)  # type: ignore[arg-type]
    return prepare(brief)


def prepare(brief: PrepareBrief) -> int:
    """Wait, migrate, give back; returns the exit code."""
    for run in brief.dead_runs:
        found = tether.sweep(tether.RUN, run)
        if found:
            log.warning("orphans.killed", count=found)
    if not _wait(brief):
        return EXIT_NO_DATABASE
    try:
        _migrate(brief)
        _release(brief)
    except Exception as error:
        from workerpool.store import failures

        told = failures.describe(error)
        if told is None:
            raise
        kind, sentence, hint = told
        log.error("database.unreachable" if kind == "unavailable" else "schema.refused", why=sentence, hint=hint)
        return EXIT_NO_DATABASE if kind == "unavailable" else EXIT_CONFIG
    log.info("prepare.finished")
    return 0


def _migrate(brief: PrepareBrief) -> None:
    with Session(brief.url, brief.schema, "prepare") as session:
        if is_exposed(session.connection):
            log.warning("database.exposed", host=session.connection.info.host, hint=USE_TLS)
        if session.version() == newest():
            return
    from workerpool.store import migrate  # only now: Alembic takes longer to import than all else here

    migrate.upgrade(brief.url, brief.schema)
    log.info("schema.migrated", version=newest())


def _wait(brief: PrepareBrief) -> bool:
    deadline, wait = time.monotonic() + brief.start_timeout, 0.05
    while True:
        try:
            line = Line(brief.url, brief.schema, "prepare")
            line.open()
            if line.pooled:
                log.warning(
                    "database.pooled", hint="it is polled once a second, as NOTIFY is not heard through a pooler"
                )
            line.close()
            return True
        except LineLost as error:
            if time.monotonic() + wait > deadline:
                log.error("database.unreachable", error=str(error).strip(), seconds=brief.start_timeout)
                return False
            log.debug("database.waited", error=str(error).strip())
        time.sleep(wait * random.uniform(0.8, 1.2))
        wait = min(1.0, wait * 1.5)


def _release(brief: PrepareBrief) -> None:
    line = Line(brief.url, brief.schema, "prepare")
    line.open()
    for manager in brief.dead_managers:
        count = 0
        while rows := line.call("held_by", worker=None, manager=f"{manager}/")[:60]:
            try:
                count += len(line.settle([released(row[0], row[1]) for row in rows]))
            except StatementRefused as error:
                if error.full or not error.passing:
                    raise
                log.warning("duty.failed", duty="release", manager=manager, error=str(error))
        if count:
            log.info("revision.released", count=count, why=f"manager {manager} is dead")
    line.close()


if __name__ == "__main__":
    code = main()
    logs.flush()
    os._exit(code)
