"""HELPS TESTS. The queue in a handler author's own tests: a pytest plugin, loaded by its entry point.

Owns: a database for each test, performing what is pending in the test's own process, and a clock for ``run_at``. Does
not own: how revisions are claimed, run and settled; these are the pool's own code and statements. Invariant: a test
run that uses none of it pays nothing for it, and no database but the test's own is touched.

The fixtures are ``workerpool_database`` (the URL of a fresh, migrated database) and ``workerpool_queue`` (a ``Queue``
on it).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workerpool.testing.queue import Clock, Queue

__all__ = ["Clock", "Queue"]


def __getattr__(name: str) -> Any:
    """Import the names for annotations when somebody asks for them."""
    if name not in __all__:
        raise AttributeError(f"module 'workerpool.testing' has no attribute {name!r}")
    from workerpool.testing import queue

    return getattr(queue, name)
