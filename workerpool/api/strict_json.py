"""JSON as it is written in RFC 8259, without the licence that Python's reader takes.

Invariant: a value that was read can be written into the database.
"""

from __future__ import annotations

import json
from typing import Any


class BadJson(ValueError):
    """A body that is no JSON, or JSON that is not taken."""


def read(body: bytes) -> Any:
    """Return the value of *body*. Raises BadJson."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadJson(f"the body is no JSON: {error}") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
