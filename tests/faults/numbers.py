"""Numbers of processes: a chosen one given to a stranger, and pools that are numbered alike, each in a namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.process.daemon import Daemon, until

LAST = Path("/proc/sys/kernel/ns_last_pid")
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child")
#: How often a number is tried to be had, which others on the machine may take meanwhile.
TRIES = 500


@cache
def missing() -> str:
    """Return what these tests need and do not have; empty: nothing."""
    if os.geteuid() != 0:
        return "the number of the next process can be chosen by root only"
    for program in ("unshare", "nsenter", "hostname"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        LAST.write_text(LAST.read_text())
    except OSError as error:
        return f"{LAST}: {error.strerror}"
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
        return "process namespaces are refused here"
    return ""


@contextlib.contextmanager
def stranger(number: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that dies of any signal, with this number, which nobody may have; None: any number."""
    for _ in range(TRIES):
        if number is not None:
            LAST.write_text(str(number - 1))
        made = subprocess.Popen(["sleep", "1000"])
        try:
            if number in (None, made.pid):
                yield made
                return
        finally:
            made.kill()
            made.wait()
    raise AssertionError(f"process number {number} could not be had in {TRIES} tries")


def unharmed(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a stranger lives, and is not stopped."""
    if process.poll() is not None:
        return False
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TtZX"


class Contained(Daemon):
    """A pool in a container: a process namespace, and a host's name that other containers have too.

    Its manager is process 1 there, or another number that is chosen.
    """

    def __init__(self, url: str, folder: Path, name: str, number: int = 1, **settings: object) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(url, folder, **settings)
        self.name, self.number = name, number

    def spawn(self, *arguments: str, group: bool = False) -> Contained:
        """Start the manager in a new namespace and return at once."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        if self.number == 1:
            script = 'hostname "$0" && exec "$@"'
        else:
            chosen = f"echo {self.number - 1} > {LAST}"
            script = f'hostname "$0" && {chosen} && {{ "$@" & wait $!; }}'
        words = [*NAMESPACE, "sh", "-c", script, self.name, sys.executable, "-m", "workerpool", "start", *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                process_group=0 if group else None,
            )
        return self

    def inside(self) -> int:
        """The manager's number as it is seen from here."""

        def found() -> int:
            for pid in self.others():
                with contextlib.suppress(OSError, StopIteration):
                    status = Path(f"/proc/{pid}/status").read_text().splitlines()
                    numbers = next(line for line in status if line.startswith("NSpid:")).split()
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if int(numbers[-1]) == self.number and b"workerpool" in command:
                        return pid
            return 0

        return until(found, what="the manager in its namespace")

    def leave(self, limit: float = 30.0) -> int:
        """Stop the manager gracefully; returns the exit code."""
        os.kill(self.inside(), signal.SIGTERM)
        return self.code(limit)
