"""JSON as RFC 8259 has it, without the licence that Python's reader takes, and no more than the database can hold.

Owns: what a body may hold. Invariant: a value that was read can be stored as it is, and written again without a loss.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections import Counter
from itertools import accumulate
from typing import Any

#: How deep arrays and objects may stand in each other: far above what people write, far below what a reader's stack
#: takes.
DEEPEST = 100
#: Digits of a whole number: more cost time that grows with their square.
MOST_DIGITS = 1000
#: (Behind no digit, so that a run is looked at once and not from each of its digits.)
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MOST_DIGITS + 1))
_SURROGATE = re.compile("[\ud800-\udfff]")
#: A text, or one that is never closed: it gives nothing back, so that a body is gone through once.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
#: Brackets as steps down (1) and up (-1).
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


class BadJson(ValueError):
    """A body that is no JSON, or JSON that is not taken; the sentence says which and where."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the body is not the JSON that is taken here: {why}")


def read(body: bytes) -> Any:
    """Return the value of *body*. Raises BadJson."""
    _check_depth(body)
    if _LONG_NUMBER.search(body) and _LONG_NUMBER.search(_TEXT.sub(b'""', body)):
        raise BadJson(f"a number has more than {MOST_DIGITS} digits")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(f"it is not UTF-8 (byte {error.start})") from None
    if text.startswith("\ufeff"):
        raise BadJson("it begins with a byte order mark")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadJson(str(error)) from None
    if "\\u" in text:
        _check_texts(value)
    elif "\0" in text:
        raise BadJson("a text holds NUL, which the database cannot")
    return value


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    steps = array("b", _TEXT.sub(b"", body).translate(_STEPS, _NO_BRACKETS))
    if max(accumulate(steps), default=0) > DEEPEST:
        raise BadJson(f"arrays and objects stand more than {DEEPEST} deep in each other")


def _refuse(name: str) -> None:
    raise BadJson(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadJson(f"{text[:20]} is beyond what a number can be")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(name for name, _ in pairs)
        double = next(name for name in times if times[name] > 1)
        raise BadJson(f"{double[:60]!r} stands twice in one object")
    return found


def _check_texts(value: object) -> None:
    """Raise BadJson for a text that UTF-8 cannot write, or that the database cannot hold."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(text):
                if "\0" in text:
                    raise BadJson("a text holds NUL, which the database cannot")
                if _SURROGATE.search(text):
                    raise BadJson("a text holds half of a surrogate pair")
            case dict(members):
                waiting += [*members.keys(), *members.values()]
            case list(members):
                waiting += members
