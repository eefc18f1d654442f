"""A server without room (F20), said by triggers: which statement meets it is chosen, and no disk has to be mounted."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.faults.test_full_disks import HANDLERS, LINES
from tests.process.daemon import Daemon, until

Pool = Callable[..., Daemon]


def refuse(daemon: Daemon, table: str, condition: str, verb: str = "UPDATE") -> None:
    """Let the server say that its disk is full to updates of a table, or inserts."""
    daemon.sql("""CREATE OR REPLACE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$""")
    daemon.sql(f"""CREATE TRIGGER no_room BEFORE {verb} ON {table} FOR EACH ROW WHEN ({condition})
        EXECUTE FUNCTION public.no_room()""")


def test_a_worker_whose_outcomes_are_refused_minds_its_handler(pool: Pool) -> None:
    """An outcome that finds no room waits behind a handler that takes long: meanwhile the worker neither floods its log
    nor misses that the handler is cancelled, and it is the same worker afterwards.
    """
    daemon = pool(workers=1, cancel_grace="20s").start()
    worker = daemon.child("W1")
    # It learns to take two at once. (Those who come one by one would teach it that only one comes at a time.)
    warm = daemon.sql("""INSERT INTO revisions (item_key, handler)
        SELECT 'warm' || n, 'work' FROM generate_series(1, 100) n RETURNING id""")
    for each in warm:
        daemon.ended(each["id"])
    refuse(daemon, "revisions", "NEW.item_key = 'refused' AND NEW.status = 'completed'")
    rows = daemon.sql("""INSERT INTO revisions (item_key, handler, payload) VALUES
        ('refused', 'work', '{}'), ('long', 'work', '{"seconds": 60}') RETURNING id""")
    refused, long = (int(row["id"]) for row in rows)
    daemon.begun(long)
    assert daemon.entries("end", refused)
    until(lambda: daemon.events("settlement.refused"), what="the outcome is refused")
    lines, began = len(daemon.events()), time.monotonic()
    until(lambda: time.monotonic() - began > 3.0, what="a while")
    assert (len(daemon.events()) - lines) / 3.0 < LINES / 3, daemon.tail()
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", long)
    until(lambda: daemon.events("cancel.relayed"), what="the worker is asked")
    until(lambda: daemon.events("revision.cancelled", role="worker"), 3.0, "its handler has heard it")
    daemon.sql("DROP TRIGGER no_room ON revisions")
    assert daemon.ended(refused)["status"] == "completed"
    assert daemon.ended(long)["status"] == "cancelled"
    assert (daemon.row(refused)["attempt"], daemon.row(refused)["crash_count"]) == (1, 0)
    assert daemon.child("W1") == worker
    assert daemon.stop() == 0


def test_what_handlers_said_waits_and_their_outcomes_do_not(pool: Pool) -> None:
    """Where the log has no room and the outcomes have, many quick handlers go on, no line of theirs is lost, and the
    daemon's own log is not flooded with what was refused.
    """
    daemon = pool(handlers=HANDLERS).start()
    refuse(daemon, "execution_log", "true", "INSERT")
    began, lines = time.monotonic(), len(daemon.events())
    said = []
    while time.monotonic() - began < 3.0:
        said += [daemon.insert(f"page{number}", "talk") for number in range(50)]
        for each in said[-50:]:
            assert daemon.ended(each)["status"] == "completed"
    told = [each for each in daemon.events()[lines:] if each["event"] != "revision.logged"]
    assert 0 < len(told) < LINES * (time.monotonic() - began), daemon.tail()
    daemon.sql("DROP TRIGGER no_room ON execution_log")
    written = "SELECT count(DISTINCT revision_id) AS number FROM execution_log WHERE message = 'the last word'"
    until(lambda: daemon.sql(written) == [{"number": len(said)}], 10.0, "every line is written")
    assert daemon.stop() == 0


def test_an_idle_pool_stops_at_once_where_it_may_not_say_so(pool: Pool) -> None:
    """A worker that holds nothing, and whose farewell finds no room, does not wait for it until the grace is over."""
    daemon = pool(shutdown_grace="30s").start()
    daemon.ended(daemon.insert("page", "work"))
    refuse(daemon, "workers", "NEW.state = 'gone'")
    began = time.monotonic()
    assert daemon.stop(limit=20.0) == 5
    assert time.monotonic() - began < 5.0


def test_a_start_that_finds_no_room_says_so(pool: Pool) -> None:
    """What a dead manager held cannot be given back: the start ends with 69 and a sentence, for a supervisor to try
    again; with room it goes on, and nobody is charged.
    """
    daemon = pool().start()
    revision = daemon.insert("page", "work", {"seconds": 60})
    daemon.begun(revision)
    daemon.send(signal.SIGKILL)
    daemon.code()
    daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", revision)
    refuse(daemon, "revisions", "NEW.status = 'pending'")
    assert daemon.spawn().code() == 69
    assert "the disk of the database is full" in daemon.events("database.unreachable")[-1]["why"]
    assert "Traceback" not in daemon.text()
    daemon.sql("DROP TRIGGER no_room ON revisions")
    daemon.start()
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert daemon.stop() == 0


def test_nobody_is_rescued_before_the_living_could_speak(pool: Pool) -> None:
    """R17: no lease can be renewed for want of room, and a worker has stepped down. When there is room again its own
    keeper gives back what it held, uncounted, before another host takes it for a crash.
    """
    first = pool(workers=1, lease="2s").start()
    revision = first.insert("page", "work", {"seconds": 8})
    first.begun(revision)
    second = pool(workers=1, lease="8s").start()
    refuse(first, "revisions", "NEW.item_key = 'page'")
    until(lambda: second.events("duty.failed", duty="rescue"), what="the other host would rescue it")
    refused = len(first.events("duty.failed", duty="bury"))
    until(lambda: len(first.events("duty.failed", duty="bury")) > refused, what="its own keeper cannot settle for it")
    first.sql("DROP TRIGGER no_room ON revisions")  # it tries again in two seconds, the other host in one
    row = first.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert not second.events("revision.rescued")
    assert first.stop() == second.stop() == 0
