"""How a point in time is written: by people in flags, by programs in files.

Owns: the forms. Invariant: an instant that was read knows its time zone.
"""

from __future__ import annotations

from datetime import datetime

from workerpool.core.durations import parse_duration

INSTANTS = "an instant such as 2026-01-31T09:00, 2026-01-31T09:00:00Z, or +10m (from now)"


def parse_instant(text: str) -> datetime:
    """Read an instant, local where it names no zone. Raises ValueError."""
    try:
        if text.startswith("+"):
            return datetime.now().astimezone() + parse_duration(text[1:])
        found = datetime.fromisoformat(text)
        return found.astimezone() if found.tzinfo is None else found
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not {INSTANTS}") from None
