"""workerpool: ordered changes to items, performed by processes that may crash, from a PostgreSQL table.

The house: ``core`` decides, ``store`` remembers, ``worker`` does, ``keeper`` keeps time, ``manager`` keeps alive,
``api`` shows, ``cli`` wires. ``job`` is what a handler holds, ``handlers`` the registry and the built-in handlers,
``link`` how the processes of one host talk, ``client`` what other programs use, ``tokens`` their right to be active,
``pool`` the daemon inside of a program, ``remote`` a worker over HTTP, ``agents`` language models as the workers'
hands, ``rehearsal`` a model that answers by script, ``testing`` the queue in tests, ``config`` the settings, ``logs``
the log. A handler module needs ``handler`` and ``Job``::

    from workerpool import handler, Job

    @handler("edit", timeout=600, max_attempts=3)
    def edit(job: Job) -> dict[str, object]:
        return {"summary": f"changed {job.item_key}", "output": job.payload}
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workerpool.client import CannotEnqueue, Client, NewRevision, NotIdle, NotSafe
    from workerpool.core.errors import Cancelled, Fail, Retry, Snooze
    from workerpool.core.retry import Backoff
    from workerpool.handlers.registry import handler
    from workerpool.job.continuations import CompletionType, Continuations, JobState
    from workerpool.job.job import Job
    from workerpool.job.result import TaskResult
    from workerpool.job.token import CancellationToken
    from workerpool.job.worker_job import Worker, WorkerJob, WorkerTask
    from workerpool.pool import Pool, PoolFailed
    from workerpool.tokens.standstill import pause_all, resume_all, wait_for_safe_state, wait_until_all_paused
    from workerpool.tokens.tasks import PausableTask, PausableTasks
    from workerpool.tokens.token import Paused, WorkToken

#: Where each name is. They are imported when somebody asks for them: a manager or a handler has no use for the database
#: driver, and a test run that only has the pytest plugin installed has no use for any of them.
_HOMES = {
    "Backoff": "core.retry",
    "CancellationToken": "job.token",
    "Cancelled": "core.errors",
    "CannotEnqueue": "client",
    "Client": "client",
    "CompletionType": "job.continuations",
    "Continuations": "job.continuations",
    "Fail": "core.errors",
    "Job": "job.job",
    "JobState": "job.continuations",
    "NewRevision": "client",
    "NotIdle": "client",
    "NotSafe": "client",
    "PausableTask": "tokens.tasks",
    "PausableTasks": "tokens.tasks",
    "Paused": "tokens.token",
    "Pool": "pool",
    "PoolFailed": "pool",
    "Retry": "core.errors",
    "Snooze": "core.errors",
    "TaskResult": "job.result",
    "WorkToken": "tokens.token",
    "Worker": "job.worker_job",
    "WorkerJob": "job.worker_job",
    "WorkerTask": "job.worker_job",
    "handler": "handlers.registry",
    "pause_all": "tokens.standstill",
    "resume_all": "tokens.standstill",
    "wait_for_safe_state": "tokens.standstill",
    "wait_until_all_paused": "tokens.standstill",
}


def __getattr__(name: str) -> Any:
    """Import one of the public names."""
    if name not in _HOMES:
        raise AttributeError(f"module 'workerpool' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"workerpool.{_HOMES[name]}"), name)
    return value


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
    "NotIdle",
    "NotSafe",
    "PausableTask",
    "PausableTasks",
    "Paused",
    "Pool",
    "PoolFailed",
    "Retry",
    "Snooze",
    "TaskResult",
    "WorkToken",
    "Worker",
    "WorkerJob",
    "WorkerTask",
    "handler",
    "pause_all",
    "resume_all",
    "wait_for_safe_state",
    "wait_until_all_paused",
]
