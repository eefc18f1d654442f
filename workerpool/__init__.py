"""workerpool: ordered changes to items, performed by processes that may crash, from a PostgreSQL table.

The house: ``core`` decides, ``store`` remembers, ``worker`` does, ``keeper`` keeps time, ``manager`` keeps alive,
``cli`` wires.
``job`` is what a handler holds, ``handlers`` the registry and the built-in handlers, ``link`` how the processes of
one host talk,
``config`` the settings, ``logs`` the log. A handler module needs ``handler`` and ``Job``::

    from workerpool import handler, Job

    @handler("edit", timeout=600, max_attempts=3)
    def edit(job: Job) -> dict[str, object]:
        return {"summary": f"changed {job.item_key}", "output": job.payload}
"""

from workerpool.core.errors import Cancelled, Fail
from workerpool.handlers.registry import handler
from workerpool.job.job import Job
from workerpool.job.token import CancellationToken

__all__ = ["CancellationToken", "Cancelled", "Fail", "Job", "handler"]
