"""The handler of the benchmark: it notes that it ran, and does nothing else. An event is (id, start, end)."""

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
