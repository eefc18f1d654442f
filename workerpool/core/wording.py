"""How values are written for people: lengths of time, sizes, counts, and texts of which nobody knows what is in them.

Pure. Invariant: nothing that comes from the database can command a terminal: control characters are shown, not sent.
"""

from __future__ import annotations

import json
import re
from datetime import datetime

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(value: object) -> str:
    """Return a value as text for one line; nothing for None."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case bool():
            return "yes" if value else "no"
        case dict() | list():
            return safe(json.dumps(value, ensure_ascii=False))
        case _:
            return safe(str(value))


def safe(text: str) -> str:
    """Return *text* with its control characters shown as escapes."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def shorten(text: str, most: int) -> str:
    """Return *text* on one line, of at most *most* characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def length(seconds: float | None) -> str:
    """Return a length of time for people: 0.3s, 12s, 3m 20s, 5h 2m, 4d 1h."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    whole = int(seconds)
    for unit, name, lesser, other in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // lesser
            return f"{whole // unit}{name}" + (f" {rest}{other}" if rest else "")
    return f"{whole}s"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 item, 2 items."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: int | None) -> str:
    """Return a number of bytes for people."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.0f} TiB"
