"""Owns how a length of time is written: text to `timedelta` and back.

It does not own limits: who asks for a duration says how long it may be.
Invariant: `parse_duration(format_duration(length)) == length` for every length that is not negative.
"""

import re
from datetime import timedelta
from fractions import Fraction
from typing import Final

ALLOWED: Final = "a duration such as 500ms, 5s, 2m, 1h, 30d, or bare seconds (5, 0.5)"

_MICROSECONDS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_FORM: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s?(ms|s|m|h|d)?")


class BadDuration(ValueError):
    """A text that is no duration."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.allowed = ALLOWED
        super().__init__(f"{text!r} is not {ALLOWED}")


def parse_duration(text: str) -> timedelta:
    """Read a length of time.

    text: a number with one of the units ms, s, m, h, d, or a bare number of seconds; decimals are fine, a sign is not.
    Returns the length, rounded to whole microseconds. Raises BadDuration.
    """
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise BadDuration(text)
    number, unit = form.groups()
    try:
        return timedelta(microseconds=round(Fraction(number) * _MICROSECONDS[unit or "s"]))
    except OverflowError as too_long:
        raise BadDuration(text) from too_long


def format_duration(length: timedelta) -> str:
    """Write a length of time in the largest unit that needs no fraction.

    length: not negative. Returns text such as 10m, 90s, 250ms; below a millisecond there is a fraction: 0.5ms.
    Raises ValueError when the length is negative.
    """
    microseconds = length // timedelta(microseconds=1)
    if microseconds < 0:
        raise ValueError(f"a duration is not negative: {length!r}")
    if microseconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        whole, rest = divmod(microseconds, _MICROSECONDS[unit])
        if rest == 0:
            return f"{whole}{unit}"
    whole, rest = divmod(microseconds, 1_000)
    return f"{whole}.{rest:03d}".rstrip("0") + "ms"


def as_length(given: timedelta | float | None) -> timedelta | None:
    """Return a length of time that a program gave, seconds or a `timedelta`; None stays None."""
    return timedelta(seconds=given) if isinstance(given, (int, float)) else given
