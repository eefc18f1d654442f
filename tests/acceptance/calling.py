"""How these tests call `workerpool`: as people and scripts do, in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LIMIT = 60.0
HANDLERS = """
import time
from workerpool import Fail, handler

@handler("good")
def good(job):
    job.progress(50, "Half of it", total_steps=2)
    job.log.info("said by the handler", number=1)
    return {"got": job.payload, "base": job.base}

@handler("bad")
def bad(job):
    raise Fail("it cannot be done")

@handler("slow")
def slow(job):
    while True:
        job.checkpoint()
        time.sleep(0.05)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without the settings of a pool, and with *more*."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WORKERPOOL_")}
    return own | {"PYTHONPATH": str(ROOT)} | more


def workerpool(*words: str) -> list[str]:
    """Return the command line of a verb."""
    return [sys.executable, "-m", "workerpool", *words]


def until(fact: Callable[[], Any]) -> Any:
    """Wait until *fact* is true, and return it."""
    deadline = time.monotonic() + LIMIT
    while not (found := fact()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)
    return found


def read(done: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON that a verb wrote."""
    return json.loads(done.stdout)
