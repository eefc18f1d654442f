"""Workers without a database under test: processes that speak to a daemon over HTTP, watched by what they log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.process.asking import url_of
from tests.process.daemon import PATIENCE, Daemon, until

HANDLERS = Path(__file__).parent / "remote_handlers.py"
SHELL = Path(__file__).parents[2] / "examples" / "remote-worker" / "worker.sh"


class Remote:
    """A process, in a process group of its own, that performs revisions of *daemon* over HTTP."""

    def __init__(self, daemon: Daemon, token: str | None, words: Sequence[str], name: str, **more: str) -> None:
        self.log = daemon.folder / f"{name}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("WORKERPOOL_", "PG"))}
        mine = {"JOURNAL": str(daemon.journal), "WORKERPOOL_STRICT_EVENTS": "1", "WORKERPOOL_URL": url_of(daemon)}
        if token is not None:
            mine["WORKERPOOL_REMOTE_TOKEN"] = token
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, env=clean | mine | more, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )

    @classmethod
    def python(cls, daemon: Daemon, token: str | None, *words: str, name: str = "R1", url: str = "") -> Remote:
        """`python -m workerpool.remote`."""
        command = [sys.executable, "-m", "workerpool.remote", "--url", url or url_of(daemon), "--worker", name]
        return cls(daemon, token, [*command, "--handlers", str(HANDLERS), "--log-format", "json", *words], name)

    @classmethod
    def shell(cls, daemon: Daemon, token: str | None, name: str, **more: str) -> Remote:
        """The example in shell."""
        return cls(daemon, token, [str(SHELL)], name, **more)

    def text(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace")

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """The events of this name that have these fields."""
        found = []
        for line in self.text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == name and all(event.get(key) == value for key, value in fields.items()):
                found.append(event)
        return found

    def event(self, name: str, **fields: object) -> dict[str, Any]:
        """Wait for such an event and return the first."""
        return until(lambda: self.events(name, **fields), what=f"event {name} {fields}\n{self.text()[-4000:]}")[0]

    def says(self, words: str) -> None:
        """Wait until it has printed these words."""
        until(lambda: words in self.text(), what=f"{words!r} in\n{self.text()[-4000:]}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started, as a terminal or a supervisor does."""
        os.killpg(self.process.pid, number)

    def stop(self, limit: float = PATIENCE) -> int:
        """Ask it to stop; returns its exit code."""
        self.send(signal.SIGTERM)
        return self.code(limit)

    def code(self, limit: float = PATIENCE) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the remote worker still runs after {limit} s:\n{self.text()[-4000:]}") from None

    def clear(self) -> None:
        """End it and all that it started."""
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait()
