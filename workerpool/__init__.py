"""workerpool: ordered changes to items, performed by processes that may crash, from a PostgreSQL table.

The house: ``core`` decides, ``store`` remembers, ``worker`` does, ``keeper`` keeps time, ``manager`` keeps alive,
``cli`` wires.
``job`` is what a handler holds, ``handlers`` the registry and the built-in handlers, ``link`` how the processes of
one host talk, ``client`` what other programs use, ``pool`` the daemon inside of a program, ``testing`` the queue in
tests, ``config`` the settings, ``logs`` the log. A handler module needs ``handler`` and ``Job``::

    from workerpool import handler, Job

    @handler("edit", timeout=600, max_attempts=3)
    def edit(job: Job) -> dict[str, object]:
        return {"summary": f"changed {job.item_key}", "output": job.payload}
"""

import importlib
from typing import TYPE_CHECKING, Any

from workerpool.core.errors import Cancelled, Fail, Retry, Snooze
from workerpool.core.retry import Backoff
from workerpool.handlers.registry import handler
from workerpool.job.continuations import CompletionType, Continuations, JobState
from workerpool.job.job import Job
from workerpool.job.result import TaskResult
from workerpool.job.token import CancellationToken
from workerpool.job.worker_job import Worker, WorkerJob, WorkerTask

if TYPE_CHECKING:
    from workerpool.client import CannotEnqueue, Client, NewRevision
    from workerpool.pool import Pool, PoolFailed

#: Imported when somebody asks for it: a manager or a handler has no use for the database driver and the settings.
_LATER = {
    "CannotEnqueue": "workerpool.client",
    "Client": "workerpool.client",
    "NewRevision": "workerpool.client",
    "Pool": "workerpool.pool",
    "PoolFailed": "workerpool.pool",
}


def __getattr__(name: str) -> Any:
    """Import one of the names that come later."""
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'workerpool' has no attribute {name!r}")


__all__ = [
    "Backoff",
    "CancellationToken",
    "Cancelled",
    "CannotEnqueue",
    "Client",
    "CompletionType",
    "Continuations",
    "Fail",
    "Job",
    "JobState",
    "NewRevision",
    "Pool",
    "PoolFailed",
    "Retry",
    "Snooze",
    "TaskResult",
    "Worker",
    "WorkerJob",
    "WorkerTask",
    "handler",
]
