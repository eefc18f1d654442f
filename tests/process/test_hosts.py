"""Several hosts on one database: the pools of another one are stopped through it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

from tests.acceptance.calling import environment
from tests.process.daemon import Daemon, until

Pool = Callable[..., Daemon]


def stop(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call `workerpool stop` from a home in which nothing runs."""
    assert daemon.url is not None
    variables = environment(WORKERPOOL_DATABASE_URL=daemon.url, WORKERPOOL_HOME=str(daemon.folder / "elsewhere"))
    argv = [sys.executable, "-m", "workerpool", "stop", *arguments]
    return subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=60, check=False)


def host(daemon: Daemon) -> str:
    """The name of the host on which this pool's workers say they are."""
    return str(daemon.sql("SELECT host FROM workers WHERE is_active LIMIT 1")[0]["host"])


def test_a_pool_is_stopped_from_another_host(pool: Pool) -> None:
    """What runs may finish; the stop is recorded, with who asked; the command returns when the last worker is gone."""
    daemon = pool().start()
    revision = daemon.insert("page", "work", {"seconds": 1.5})
    daemon.begun(revision)
    done = stop(daemon, "--host", host(daemon))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"stopped on \S+: \S+/\d+-\w{8}\n", done.stdout)
    assert daemon.code() == 0
    row = daemon.row(revision)
    assert (row["status"], row["attempt"]) == ("completed", 1)
    (event,) = daemon.sql("SELECT control, action, actor, target FROM control_events WHERE control = 'host'")
    assert event["action"] == "stop"
    assert event["actor"]
    assert f"stopped on {event['target']}: " in done.stdout


def test_a_quick_stop_from_another_host_gives_back_what_runs(pool: Pool) -> None:
    """The handler is killed, its revision is given back uncounted."""
    daemon = pool(shutdown_grace="60s").start()
    revision = daemon.insert("page", "stubborn")
    daemon.begun(revision)
    assert stop(daemon, "--host", host(daemon), "--wait", "0").stdout.startswith("asked to stop on ")
    until(lambda: daemon.events("manager.stopping", quick=False), what="the graceful stop")
    assert stop(daemon, "--quick", "--host", host(daemon)).returncode == 0
    assert daemon.code() in (0, 5)
    row = daemon.row(revision)
    assert (row["status"], row["attempt"]) == ("pending", 0)
    # who starts again is not stopped by what was said to the one before
    daemon.start()
    assert daemon.begun(revision, attempt=1)
    assert stop(daemon, "--quick", "--host", host(daemon)).returncode == 0
    assert daemon.code() in (0, 5)


def test_a_host_that_is_not_there(pool: Pool) -> None:
    """A mistyped name is answered with those that there are."""
    daemon = pool().start()
    done = stop(daemon, "--host", "nowhere")
    assert done.returncode == 4
    assert "no living worker on a host 'nowhere'" in done.stderr
    assert f"there are: {host(daemon)}" in done.stderr
    assert daemon.stop() == 0
    assert "no living worker is known" in stop(daemon, "--host", "nowhere").stderr
