"""Functions that the agents of the tests are given."""

from __future__ import annotations


def add(first: int, second: int) -> int:
    """Return the sum of two numbers."""
    return first + second


def explode(why: str) -> str:
    """Fail, always."""
    raise RuntimeError(f"exploded: {why}")
