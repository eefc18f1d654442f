"""Named places in the program at which a test makes its process die, stop, sleep or fail.

``WORKERPOOL_FAILPOINT`` says where and what. It is refused unless ``WORKERPOOL_FAILPOINTS_ENABLED=1`` stands beside it,
so that nothing happens by a slip. Without it a place costs one look into an empty dictionary.

Owns: the places, the form of the variable. Does not own: when a process passes a place. Source of the idea: fail(9) of
FreeBSD.
"""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

VARIABLE: Final = "WORKERPOOL_FAILPOINT"
ENABLED: Final = "WORKERPOOL_FAILPOINTS_ENABLED"
#: The places, in the order in which an attempt and a process pass them.
POINTS: Final = {
    "before_spawn": "manager: a child is about to be started",
    "after_spawn": "manager: the child's process exists and was told nothing yet",
    "at_boot": "worker: its first statement, before its signals are in place",
    "before_ready": "worker: registered, not yet ready",
    "after_claim": "worker: the claim is committed, nothing of it has started",
    "before_handler": "worker: the attempt is on the board, its handler not yet called",
    "after_handler": "worker: the handler has returned, its outcome is not yet sent",
    "before_settle": "worker and keeper: about to send outcomes",
    "during_settle": "worker: outcomes are sent with its next claim, the answer is not yet read",
    "after_settle": "worker and keeper: outcomes are written, and known to be",
    "before_commit": "worker: job.transaction() holds its outcome and is about to commit",
    "after_commit": "worker: job.transaction() is committed",
    "before_bury": "keeper: about to settle for a dead process",
    "before_rescue": "keeper: about to take back claims whose lease ran out",
}
DEEDS: Final = ("kill", "stop", "sleep", "error")
ALLOWED: Final = (
    "POINT:DEED[:SECONDS][@CHANCE], with commas between, such as after_claim:kill@0.1,before_settle:sleep:5"
)
_FORM: Final = re.compile(r"(?P<point>\w+):(?P<deed>\w+)(:(?P<seconds>\d+(\.\d+)?))?(@(?P<chance>0?\.\d+|1|1\.0|0))?")


@dataclass(frozen=True, slots=True)
class Failpoint:
    """What is done at a place: *deed* is one of DEEDS, *seconds* the length of a sleep, *chance* from 0 to 1."""

    point: str
    deed: str
    seconds: float = 0.0
    chance: float = 1.0


def parse(text: str) -> tuple[Failpoint, ...]:
    """Read the variable's form; raises ValueError that says what is wrong and what is allowed."""
    found = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        match = _FORM.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r}: {ALLOWED}")
        if match["point"] not in POINTS:
            raise ValueError(f"{part!r}: no such place; there are {', '.join(POINTS)}")
        if match["deed"] not in DEEDS:
            raise ValueError(f"{part!r}: no such deed; there are {', '.join(DEEDS)}")
        if (match["seconds"] is None) == (match["deed"] == "sleep"):
            raise ValueError(f"{part!r}: seconds are for sleep, which needs them")
        found.append(
            Failpoint(match["point"], match["deed"], float(match["seconds"] or 0), float(match["chance"] or 1))
        )
    return tuple(found)


def refusal(environment: Mapping[str, str]) -> str | None:
    """Return why a process must not start with this environment, or None."""
    if not (text := environment.get(VARIABLE)):
        return None
    if environment.get(ENABLED) != "1":
        return f"{VARIABLE} is for tests, and breaks what is running: it is obeyed with {ENABLED}=1 only; unset it"
    try:
        parse(text)
    except ValueError as error:
        return f"{VARIABLE}={text!r} cannot be used: {error}"
    return None


def reach(point: str) -> None:
    """Pass a place. Raises OSError where that is what the variable says."""
    for each in _ACTIVE.get(point, ()):
        if random.random() < each.chance:
            _do(each)


def _do(each: Failpoint) -> None:
    # (written past Python's buffers and the log: the process may not live to flush them)
    os.write(2, f"failpoint {each.point} {each.deed} pid {os.getpid()}\n".encode())
    match each.deed:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            time.sleep(each.seconds)
        case _:
            raise OSError(errno.EAGAIN, f"failpoint {each.point}")


def _active(environment: Mapping[str, str]) -> dict[str, tuple[Failpoint, ...]]:
    if refusal(environment) is not None:
        return {}  # the command line has refused, or will
    found = parse(environment.get(VARIABLE, ""))
    return {point: tuple(each for each in found if each.point == point) for point in {each.point for each in found}}


_ACTIVE: Final = _active(os.environ)
