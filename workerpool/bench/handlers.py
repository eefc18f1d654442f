"""The handlers of the benchmark: each notes that it ran, and does little else.

Owns: the handlers, in the worker's process. Invariant: an event is one write of (id, start, end), after the work: what
is killed half-way notes nothing.
"""

import os
import time
from pathlib import Path

from workerpool import Job, handler
from workerpool.bench.record import EVENT, FOLDER, SLEEP

_FILE = os.open(Path(os.environ[FOLDER]) / f"events-{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
_SLEEP = float(os.environ.get(SLEEP, "0"))


@handler("default")
def note(job: Job) -> dict[str, object]:
    """Note that it ran."""
    start = time.time()
    if _SLEEP:
        time.sleep(_SLEEP)
    os.write(_FILE, EVENT.pack(job.id, start, time.time()))
    return {}


def _work(job: Job, start: float) -> dict[str, object]:
    """Compute for a millisecond of this process's own time."""
    end = time.process_time() + 0.001
    while time.process_time() < end:
        pass
    os.write(_FILE, EVENT.pack(job.id, start, time.time()))
    return {}


@handler("quiet")
def quiet(job: Job) -> dict[str, object]:
    """Work, and say nothing."""
    return _work(job, time.time())


@handler("telling")
def telling(job: Job) -> dict[str, object]:
    """Work, and say how far it is, and a line for the log."""
    start = time.time()
    job.progress(50, "Half of it")
    job.log.info("half of it is done", item=job.item_key)
    return _work(job, start)
