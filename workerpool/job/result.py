"""What a handler returns, where it wants more than plain JSON: a summary, an output, files, and what it took.

Owns: the shape, and the check of its files. Does not own: encoding (the worker does), nor copying (``artifacts``).
Invariant: a result whose files were missing when the handler returned is never stored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

#: Missing files that a message names.
NAMED = 5


class Metrics(TypedDict, total=False):
    """What an attempt took."""

    tokensUsed: int
    requestCount: int
    executionTime: float


class TaskResult(TypedDict, total=False):
    """A handler's result; a dict of this shape is the same thing, and any other JSON value is allowed too."""

    summary: str
    """One line for people."""
    output: Any
    """The new content, or whatever the handler made: any JSON."""
    artifacts: Sequence[str | os.PathLike[str]]
    """Paths of files, which must exist when the handler returns; ``job.keep_artifact`` returns such a path."""
    metrics: Metrics


class ArtifactMissing(Exception):
    """A result names files that do not exist."""

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        names = ", ".join(repr(each) for each in missing[:NAMED])
        super().__init__(f"the result's artifacts do not exist: {names}{more}")


def checked(result: Any) -> Any:
    """Return *result* with the paths of its ``artifacts`` as text; raises ArtifactMissing.

    Only a list of paths is looked at: anything else under that name is the handler's own JSON.
    """
    if not isinstance(result, dict) or not isinstance(artifacts := result.get("artifacts"), list | tuple):
        return result
    if not all(isinstance(each, str | os.PathLike) for each in artifacts):
        return result
    paths = [os.fspath(each) for each in artifacts]
    missing = [path for path in paths if not _exists(path)]
    if missing:
        raise ArtifactMissing(missing)
    return result | {"artifacts": paths}


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # a path that may not be looked at, or that is none (a NUL, a lone surrogate)
        return False
