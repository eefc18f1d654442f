"""Who holds a pause: its name, whether its process lives, and the command that takes the pause away.

Owns: the names under which `safely` and `backup` pause, and the sentences on pauses. Does not own: the pauses
(``store.pausing``). Invariant: a process is known by its number and its start, so that a number that was given again
is not taken for the one that left.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from workerpool.core.wording import length, printable, safe
from workerpool.link.tether import marked

#: What a command under `safely` finds in its environment: the mark of the pause that is held for it.
MARK = "WORKERPOOL_SAFELY"
_NAME = re.compile(r"(?P<verb>\w+) (?P<user>.+)@(?P<host>[^@ ]+) pid (?P<pid>\d+) (?P<mark>[0-9a-f]{12})")
Pause = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Holder:
    """The name of a process that holds a pause for the length of something, and the mark in that name."""

    name: str
    mark: str


def own(verb: str, actor: str) -> Holder:
    """Return the name under which this process pauses."""
    mark = _mark(os.getpid()) or os.urandom(6).hex()
    return Holder(f"{verb} {actor} pid {os.getpid()} {mark}", mark)


def _mark(pid: int) -> str | None:
    """Return what no other process of this machine has had or will have; None where there is no such process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        about = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if about[0] in "ZX" else hashlib.sha256(f"{boot}{pid} {about[19]}".encode()).hexdigest()[:12]


def fate(holder: str) -> str | None:
    """Return what became of the process that a holder's name tells of; None where it tells of none."""
    found = _NAME.fullmatch(holder)
    if found is None:
        return None
    host, pid, mark = found["host"], int(found["pid"]), found["mark"]
    if host != socket.gethostname():
        return f"whether its process {pid} is alive can be seen only on {safe(host)}"
    if _mark(pid) == mark:
        return f"its process {pid} on this host is alive, and takes the pause away when it ends"
    left = marked(MARK, mark)
    command = (
        f"its command still runs (pid {', '.join(map(str, left))})" if left else "nothing of its command is seen to run"
    )
    return f"its process {pid} on this host is gone without having taken the pause away; {command}"


def lifting(pauses: list[Pause]) -> str:
    """Return the command that takes these pauses away."""
    if len(pauses) != 1:
        return "workerpool resume --all"
    kind, _, name = pauses[0]["scope"].partition(":")
    scope = f" --{kind} {shlex.quote(safe(name))}" if name else ""
    return f"workerpool resume --holder {shlex.quote(safe(pauses[0]['holder']))}{scope}"


def sentence(pause: Pause) -> str:
    """Return who paused what, since when, until when and why."""
    kind, _, name = pause["scope"].partition(":")
    what = f"{kind} {safe(name)!r}" if name else "everything"
    actor, holder = safe(pause["actor"]), safe(pause["holder"])
    who = holder if actor in holder else f"{actor} (as {holder})"
    until = pause["until"]  # in JSON a text
    until = datetime.fromisoformat(until) if isinstance(until, str) else until
    ends = f", until {printable(until)}" if until else ""
    return f"{what} ({pause['mode']}) by {who} for {length(pause['age'])}{ends}: {safe(pause['reason'])}"
