"""A command line and a pool on a database of the test's own."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.calling import HANDLERS, LIMIT, Run, environment, until, workerpool


@pytest.fixture
def run(database: str, tmp_path: Path) -> Run:
    """Run a verb on a database and a home of this test's own."""
    settings = environment(WORKERPOOL_DATABASE_URL=database, WORKERPOOL_HOME=str(tmp_path / "home"))

    def call(*words: str, stdin: str = "", code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            workerpool(*words),
            env=settings | more,
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon with two workers and the handlers above, on the home and the database of `run`."""
    (tmp_path / "cli_handlers.py").write_text(HANDLERS)
    settings = environment(WORKERPOOL_DATABASE_URL=database, WORKERPOOL_HOME=str(tmp_path / "home"))
    words = workerpool("start", "--handlers", "cli_handlers", "--workers", "2", "--http", "off")
    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(words, env=settings, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until(lambda: b"manager.ready" in (tmp_path / "daemon.log").read_bytes() or process.poll() is not None)
        yield process
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(LIMIT)
