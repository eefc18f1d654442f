"""How a start ends that cannot succeed, and what a reload and the other signals do."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.process.daemon import Daemon, until

Pool = Callable[..., Daemon]


def test_a_module_that_cannot_be_imported_ends_the_pool_with_4(pool: Pool, tmp_path: Path) -> None:
    """After its retries: exit 4, with the traceback in the log exactly once however many workers met it."""
    module = tmp_path / "broken_handlers.py"
    module.write_text("import no_such_module_at_all\n")
    daemon = pool(handlers=module).spawn()
    assert daemon.code() == 4
    assert daemon.text().count("ModuleNotFoundError: No module named 'no_such_module_at_all'") <= 2
    told = daemon.events("handlers.failed")
    assert len(told) == 1
    assert "Traceback" in told[0]["traceback"]
    assert "broken_handlers.py" in told[0]["traceback"]


def test_a_module_that_ends_the_process_ends_the_pool_with_3(pool: Pool, tmp_path: Path) -> None:
    """Workers that cannot boot for another reason: exit 3 after the retries."""
    module = tmp_path / "leaving_handlers.py"
    module.write_text("import os\nos._exit(9)\n")
    daemon = pool(handlers=module).spawn()
    assert daemon.code() == 3


def test_a_bad_setting_is_refused_with_its_name(pool: Pool) -> None:
    """Exit 78, with the variable, the value and what is allowed; no traceback."""
    daemon = pool(workers="many").spawn()
    assert daemon.code() == 78
    assert "WORKERPOOL_WORKERS" in daemon.text()
    assert "many" in daemon.text()
    assert "Traceback" not in daemon.text()


def test_a_second_pool_on_the_same_home_is_refused_with_the_pid(pool: Pool) -> None:
    """Exit 78 with the pid of the one that runs, which is not disturbed."""
    first = pool().start()
    second = pool(home=first.settings["home"]).spawn()
    assert second.code() == 78
    assert str(first.pid) in second.text()
    assert first.ended(first.insert("page", "work"))["status"] == "completed"
    assert first.stop() == 0


def test_a_database_that_is_not_there_ends_the_start_with_69(pool: Pool, tmp_path: Path) -> None:
    """Not reachable within WORKERPOOL_START_TIMEOUT: exit 69."""
    daemon = pool(start_timeout="1s")
    daemon.url = f"postgresql://nobody@/nowhere?host={tmp_path}"
    daemon.spawn()
    assert daemon.code() == 69
    assert daemon.events("database.unreachable")


def test_a_schema_that_is_newer_is_left_alone(pool: Pool) -> None:
    """The database was migrated by a newer program: exit 78, nothing changed."""
    daemon = pool()
    daemon.sql("UPDATE workerpool.alembic_version SET version_num = '9999'")
    daemon.spawn()
    assert daemon.code() == 78
    assert daemon.events("schema.refused")
    assert not daemon.events("child.started", child="W1")


def test_a_backlog_waits_for_workers_that_are_slow_to_start(pool: Pool, tmp_path: Path) -> None:
    """Old revisions whose handler is still being imported are not failed as unhandled, however short that patience."""
    module = tmp_path / "slow_handlers.py"
    module.write_text(
        "import time\nfrom workerpool import handler\ntime.sleep(2.5)\n"
        "@handler('slow to come')\ndef come(job):\n    return 1\n"
    )
    daemon = pool(handlers=module, unhandled_after="300ms")
    revision = daemon.insert("page", "slow to come", created_at="2020-01-01", run_at="2020-01-01")
    daemon.spawn()
    assert daemon.ended(revision)["status"] == "completed"


def test_a_reload_replaces_the_workers_one_by_one_after_their_revision(pool: Pool, tmp_path: Path) -> None:
    """HUP with a good configuration: more workers, every process new, a running revision not disturbed."""
    settings = tmp_path / "env"
    settings.write_text("")
    daemon = pool(env_file=settings, workers="").start()  # not set in the environment, which would win: 2 by default
    old = {daemon.child("W1"), daemon.child("W2")}
    revision = daemon.insert("page", "work", {"seconds": 3})
    busy = daemon.begun(revision)
    settings.write_text("WORKERPOOL_WORKERS=3\n")
    daemon.send(signal.SIGHUP)
    daemon.event("config.reloaded", workers=3)
    daemon.pid_of_child("W3")
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["worker_id"].rpartition(".")[2]) == ("completed", 1, "1")
    assert [int(each[3]) for each in daemon.entries("end", revision)] == [busy]
    until(lambda: not old & {daemon.child("W1"), daemon.child("W2")}, what="every worker new")
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    assert daemon.stop() == 0


def test_a_bad_configuration_is_refused_and_the_old_one_stays(pool: Pool, tmp_path: Path) -> None:
    """HUP with a value that is not allowed, then with a module that no longer imports: said so, nothing is replaced;
    ten at once are one reload.
    """
    module, settings = tmp_path / "changing_handlers.py", tmp_path / "env"
    module.write_text("from workerpool import handler\n@handler('changing')\ndef changing(job):\n    return 'old'\n")
    settings.write_text("")
    daemon = pool(handlers=module, env_file=settings).start()
    old = {daemon.child("W1"), daemon.child("W2")}
    settings.write_text("WORKERPOOL_MAX_RSS=plenty\n")
    daemon.send(signal.SIGHUP)
    assert "WORKERPOOL_MAX_RSS" in daemon.event("config.refused")["why"]
    settings.write_text("")
    module.write_text("this is ( not python\n")
    for _ in range(10):
        daemon.send(signal.SIGHUP)
    until(lambda: len(daemon.events("config.refused")) == 2, what="refused again")
    assert "SyntaxError" in daemon.event("handlers.failed")["traceback"]
    assert {daemon.child("W1"), daemon.child("W2")} == old
    assert daemon.ended(daemon.insert("page", "changing"))["result"] == "old"
    module.write_text("from workerpool import handler\n@handler('changing')\ndef changing(job):\n    return 'new'\n")
    daemon.send(signal.SIGHUP)
    daemon.event("config.reloaded")
    until(lambda: not old & {daemon.child("W1"), daemon.child("W2")}, what="every worker new")
    assert daemon.ended(daemon.insert("page", "changing"))["result"] == "new"
    assert daemon.stop() == 0


def test_workers_are_added_and_taken_away_by_signal(pool: Pool) -> None:
    """TTIN starts one more; TTOU lets the least busy one finish and leave, never one that works, and never the last."""
    daemon = pool().start()
    daemon.send(signal.SIGTTIN)
    third = daemon.pid_of_child("W3")
    rows = [daemon.insert(f"item{n}", "work", {"seconds": 2}) for n in range(2)]
    busy = {daemon.begun(each) for each in rows}
    idle = next(pid for pid in (daemon.child("W1"), daemon.child("W2"), third) if pid not in busy)
    for number in range(1, 4):
        daemon.send(signal.SIGTTOU)
        until(lambda number=number: len(daemon.events("workers.resized")) > number, what="heard")
    daemon.event("child.exited", pid=idle)
    assert {daemon.ended(each)["attempt"] for each in rows} == {1}
    until(lambda: len(daemon.events("child.exited")) == 3, what="prepare and two workers left")
    assert [each["workers"] for each in daemon.events("workers.resized")] == [3, 2, 1, 1]
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    assert daemon.stop() == 0


def test_the_log_is_opened_again_and_the_state_is_written_to_it(pool: Pool, tmp_path: Path) -> None:
    """USR1: every process goes on in a new file of the same name. USR2: children and stacks are in the log. The health
    line is there.
    """
    log = tmp_path / "pool.log"
    daemon = pool(log_file=log)
    daemon.log = log
    daemon.start()
    line = daemon.event("workers.healthy")["line"]
    assert line.startswith("Workers healthy: [W1:0.")
    assert line.endswith("m]")
    revision = daemon.insert("page", "work", {"seconds": 2})
    daemon.begun(revision)
    daemon.send(signal.SIGUSR2)
    dumped = daemon.event("manager.dumped")
    assert any("name='W1'" in child for child in dumped["children"])
    for child in ("W1", "W2"):
        until(lambda name=child: any("loop.py" in each["line"] for each in daemon.events("child.printed", child=name)))
    until(lambda: any("pool_handlers.py" in line for line in daemon.lines(revision)), what="its stack in its own log")
    children = [daemon.child(name) for name in ("keeper", "W1", "W2")]
    os.rename(log, tmp_path / "pool.log.1")
    daemon.send(signal.SIGUSR1)
    until(lambda: all(_has_open(pid, log) for pid in (daemon.pid, *children)), what="the new file, in every process")
    daemon.insert("bad", "raise", {"error": "ValueError"})
    daemon.event("revision.failed")
    daemon.insert("crash", "segfault")
    daemon.event("revision.crashed", role="keeper")
    assert daemon.stop() == 0
    assert daemon.events("manager.stopped")


def _has_open(pid: int, path: Path) -> bool:
    links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink())
    return str(path) in links


def test_locks_held_at_the_start_are_waited_for(pool: Pool) -> None:
    """A row of a dead manager that somebody has locked for a moment does not fail the start."""
    daemon = pool().start()
    revision = daemon.insert("page", "work", {"seconds": 1000})
    daemon.begun(revision)
    daemon.send(signal.SIGKILL)
    daemon.code()
    daemon.sql("UPDATE revisions SET payload = '{}'")
    assert daemon.url is not None
    with psycopg.connect(daemon.url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(workerpool.item_lock('page'))")
        daemon.spawn()
        daemon.event("duty.failed", role="prepare")
    assert daemon.ended(revision)["status"] == "completed"
    assert daemon.stop() == 0
