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

from typing import TYPE_CHECKING, Any

from workerpool.core.errors import Cancelled, Fail
from workerpool.handlers.registry import handler
from workerpool.job.job import Job
from workerpool.job.token import CancellationToken

if TYPE_CHECKING:
    from workerpool.client import Client


def __getattr__(name: str) -> Any:
    """Import ``Client`` when somebody asks for it: a manager or a handler has no use for its database driver."""
    if name == "Client":
        from workerpool.client import Client

        return Client
    raise AttributeError(f"module 'workerpool' has no attribute {name!r}")


__all__ = ["CancellationToken", "Cancelled", "Client", "Fail", "Job", "handler"]
