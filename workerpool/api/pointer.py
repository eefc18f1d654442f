"""JSON Pointer: a place in a JSON value, as a text. Source: RFC 6901."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPED = re.compile(r"~([01]?)")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class BadPointer(ValueError):
    """A text that is no pointer."""


class NotFound(LookupError):
    """A value that has nothing at a pointer's place."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A place: the names and numbers that lead to it."""

    text: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return self.text

    def find(self, value: object) -> object:
        """Return what is at this place of *value*. Raises NotFound."""
        for step in self.steps:
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
                value = value[int(step)]
            else:
                raise NotFound(f"there is nothing at {self.text}")
        return value


def parse(text: str) -> Pointer:
    """Read a pointer: empty (the whole value), or parts that each begin with a slash. Raises BadPointer."""
    if text and not text.startswith("/"):
        raise BadPointer(f"{text!r} does not begin with a slash")
    return Pointer(text, tuple(_unescaped(part) for part in text.split("/")[1:]))


def _unescaped(part: str) -> str:
    def plain(found: re.Match[str]) -> str:
        if not found[1]:
            raise BadPointer(f"{part!r} has a ~ that is not ~0 or ~1")
        return "~" if found[1] == "0" else "/"

    return _ESCAPED.sub(plain, part)
