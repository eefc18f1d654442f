"""The handlers of the benchmark: each notes that it ran, and does little else. An event is (id, start, end)."""

import os
import struct
import time
from pathlib import Path

from workerpool import Job, handler

EVENT = struct.Struct("<qdd")
SLEEP = float(os.environ.get("BENCH_SLEEP", "0"))
_FILE = os.open(
    Path(os.environ["BENCH_EVENTS"]) / f"events-{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600
)


@handler("default")
def note(job: Job) -> dict[str, object]:
    """Note that it ran."""
    start = time.time()
    if SLEEP:
        time.sleep(SLEEP)
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
