"""What the queue is filled with: statements, by the size of what they add.

Owns: the INSERTs of the workloads. Invariant: ids rise in the order in which the rows are meant to be.
"""

from __future__ import annotations

_INTO = "INSERT INTO workerpool.revisions (item_key"


def independent(count: int, priorities: int = 0) -> str:
    """Return *count* revisions of as many items; with *priorities* mixed over so many."""
    if priorities:
        return f"{_INTO}, priority) SELECT 'i' || g, g % {priorities} FROM generate_series(1, {count}) g"
    return f"{_INTO}) SELECT 'i' || g FROM generate_series(1, {count}) g"


def in_turn(items: int, depth: int, handler: str = "default") -> str:
    """Return *depth* revisions of each of *items* items, one of each after the other."""
    return (
        f"{_INTO}, handler) SELECT 'i' || k, '{handler}' "
        f"FROM generate_series(1, {depth}) s, generate_series(1, {items}) k"
    )


def hot(count: int) -> str:
    """Return *count* revisions of one item."""
    return f"{_INTO}) SELECT 'hot' FROM generate_series(1, {count})"


def told(count: int, turn: int, handler: str) -> str:
    """Return *count* revisions for a handler, of items that no other turn has."""
    return f"{_INTO}, handler) SELECT 't{turn}.' || g, '{handler}' FROM generate_series(1, {count}) g"


def completed(count: int) -> str:
    """Return *count* revisions that were completed long ago."""
    return (
        f"{_INTO}, status, revision_number, attempt, started_at, completed_at, result) "
        f"SELECT 'old' || g, 'completed', 1, 1, now() - interval '1 hour', now() - interval '1 hour', '{{}}' "
        f"FROM generate_series(1, {count}) g"
    )


def scheduled(count: int) -> str:
    """Return *count* revisions for tomorrow."""
    return f"{_INTO}, run_at) SELECT 's' || g, now() + interval '1 day' FROM generate_series(1, {count}) g"


def backing_off(count: int) -> tuple[str, str]:
    """Return the two statements that make *count* revisions wait for another attempt, in an hour."""
    return (
        f"{_INTO}, attempt) SELECT 'r' || g, 1 FROM generate_series(1, {count}) g",
        "UPDATE workerpool.revisions SET run_at = now() + interval '1 hour' WHERE item_key LIKE 'r%'",
    )
