"""Owns how a number of bytes is written: text to int and back, for people."""

import re
from typing import Final

ALLOWED: Final = "a size such as 512MiB, 1GiB, 800MB, or bytes"
_SIZES: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def parse_size(text: str) -> int:
    """Read a number of bytes, such as 512MiB, 800MB or 4096. Raises ValueError."""
    form = re.fullmatch(r"([0-9]{1,15})\s?(|k|m|g|ki|mi|gi)b?", text.strip().lower())
    if form is None:
        raise ValueError(f"{text!r} is not {ALLOWED}")
    return int(form[1]) * _SIZES[form[2]]


def format_beside(count: int, limit: int) -> str:
    """Write *count*, rounded up, in the largest unit of which *limit* is a whole number: 300.5 MiB beside 256 MiB."""
    units = ((1 << 30, "GiB"), (1000**3, "GB"), (1 << 20, "MiB"), (1000**2, "MB"), (1 << 10, "KiB"), (1000, "kB"))
    for unit, name in units:
        if limit % unit == 0:
            tenths = -(-10 * count // unit)
            return f"{tenths // 10} {name}" if tenths % 10 == 0 else f"{tenths / 10:.1f} {name}"
    return f"{count} bytes"


def format_size(count: int) -> str:
    """Write a number of bytes for people, such as 612 MB."""
    for unit, name in ((1000**3, "GB"), (1000**2, "MB"), (1000, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 100 * unit else f"{count // unit} {name}"
    return f"{count} bytes"
