"""New revisions as they are asked for, and as the texts that the server reads.

Owns: what a new revision may say, and its columns as texts. Does not own: adding it (``enqueueing``). Pure: nothing
here talks to a database. Invariant: nobody gets texts of a revision with which something is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

LONGEST_ITEM, LONGEST_HANDLER, LONGEST_DEDUPE_KEY = 512, 200, 1000
SMALLEST_PRIORITY, GREATEST_PRIORITY = -32768, 32767
MOST_ATTEMPTS = 2**31 - 1
#: NUL as JSON writes it; after an even number of backslashes, else it is the text of such a backslash.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
#: What COPY reads as something else than itself.
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPED = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}
#: The columns of ``revisions`` that a new one may fill, and what each says where nothing is given. ('now' is the
#: beginning of the transaction, as now() is.)
UNSAID: dict[str, str | None] = {
    "item_key": None,
    "handler": "default",
    "payload": "{}",
    "status": "pending",
    "priority": "0",
    "run_at": "now",
    "dedupe_key": None,
    "max_attempts": None,
    "timeout_seconds": None,
    "metadata": None,
}
#: Texts by column, one for each revision, in order; a column is missing where all of its texts are as in UNSAID.
Texts = dict[str, list[str | None]]


@dataclass(frozen=True, slots=True)
class NewRevision:
    """A revision as it is asked for; None: not given."""

    item: str
    payload: object = field(default_factory=dict)
    handler: str = "default"
    priority: int = 0
    run_at: datetime | None = None
    dedupe_key: str | None = None
    draft: bool = False
    max_attempts: int | None = None
    timeout: timedelta | None = None
    metadata: object = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of a new revision."""

    field: str
    value: object
    allowed: str

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{self.field} is {shown if len(shown) <= 80 else shown[:77] + '...'}; allowed: {self.allowed}"


class CannotEnqueue(ValueError):
    """A new revision is not what the queue can hold."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))


def problems(new: NewRevision) -> Iterator[Problem]:
    """Yield everything that is wrong with *new*."""
    yield from _text("item", new.item, LONGEST_ITEM)
    yield from _text("handler", new.handler, LONGEST_HANDLER)
    if new.dedupe_key is not None:
        yield from _text("dedupe_key", new.dedupe_key, LONGEST_DEDUPE_KEY)
    yield from _number("priority", new.priority, SMALLEST_PRIORITY, GREATEST_PRIORITY)
    if new.max_attempts is not None:
        yield from _number("max_attempts", new.max_attempts, 1, MOST_ATTEMPTS)
    if new.timeout is not None and new.timeout <= timedelta(0):
        yield Problem("timeout", str(new.timeout), "a duration of more than 0")
    if not isinstance(new.payload, dict):
        yield Problem("payload", new.payload, "a JSON object")
    else:
        yield from _json("payload", new.payload)
    yield from _json("metadata", new.metadata)


def _text(name: str, value: object, longest: int) -> Iterator[Problem]:
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not _is_clean(value):
        yield Problem(name, value, f"a text of 1 to {longest} characters, without NUL")


def _number(name: str, value: object, least: int, most: int) -> Iterator[Problem]:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield Problem(name, value, f"a whole number from {least} to {most}")


def _is_clean(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _json(name: str, value: object) -> Iterator[Problem]:
    try:
        text = as_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        yield Problem(name, f"({error})", "JSON: objects, arrays, texts, finite numbers, true, false, null")
        return
    if not _is_clean(text) or _NUL.search(text):
        yield Problem(name, "a text with NUL or half a character", "texts without NUL and lone surrogates")


#: Write a value as JSON. Raises TypeError, ValueError, RecursionError where it is none.
as_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode


def written(new: Sequence[NewRevision]) -> Texts:
    """Return the texts of *new*, which is not empty.

    Raises CannotEnqueue with all that is wrong with the first that has something wrong.
    """
    # Column by column: of a hundred thousand, nearly all say the same in nearly all fields, and one look at each text
    # would take longer than the server takes to add them.
    values = _by_field(new)
    json_texts: Texts | None
    try:
        json_texts = _json_texts(values)
        doubtful = not _is_right(values, json_texts)
    except (TypeError, ValueError, RecursionError):
        json_texts, doubtful = None, True
    if doubtful:
        for each in new:
            if wrong := list(problems(each)):
                raise CannotEnqueue(wrong)
    texts: Texts = {
        "item_key": values["item"],
        "handler": values["handler"],
        **(json_texts or _json_texts(values)),
        "dedupe_key": values["dedupe_key"],
    }
    if any(values["draft"]):
        texts["status"] = ["draft" if draft else "pending" for draft in values["draft"]]
    if _some(values["priority"], 0):
        texts["priority"] = [str(int(priority)) for priority in values["priority"]]
    if _some(values["run_at"]):
        texts["run_at"] = ["now" if instant is None else str(instant) for instant in values["run_at"]]
    if _some(values["max_attempts"]):
        texts["max_attempts"] = [None if most is None else str(int(most)) for most in values["max_attempts"]]
    if _some(values["timeout"]):
        texts["timeout_seconds"] = [None if each is None else str(each.total_seconds()) for each in values["timeout"]]
    return {name: texts[name] for name, unsaid in UNSAID.items() if name in texts and _some(texts[name], unsaid)}


def _by_field(new: Sequence[NewRevision]) -> dict[str, list[Any]]:
    return {
        "item": [each.item for each in new],
        "payload": [each.payload for each in new],
        "handler": [each.handler for each in new],
        "priority": [each.priority for each in new],
        "run_at": [each.run_at for each in new],
        "dedupe_key": [each.dedupe_key for each in new],
        "draft": [each.draft for each in new],
        "max_attempts": [each.max_attempts for each in new],
        "timeout": [each.timeout for each in new],
        "metadata": [each.metadata for each in new],
    }


def _some(values: list[Any], usual: object = None) -> bool:
    return values.count(usual) < len(values)


def _json_texts(values: dict[str, list[Any]]) -> Texts:
    return {
        "payload": ["{}" if payload == {} else as_json(payload) for payload in values["payload"]],
        "metadata": [None if each is None else as_json(each) for each in values["metadata"]]
        if _some(values["metadata"])
        else values["metadata"],
    }


def _is_right(values: dict[str, list[Any]], json_texts: Texts) -> bool:
    """Tell at little cost that nothing is wrong with any; False: `problems` knows values of more kinds."""
    return (
        set(map(type, values["payload"])) == {dict}
        and all(map(_are_clean_json, json_texts.values()))
        and _are_texts(values["item"], LONGEST_ITEM)
        and _are_texts(values["handler"] if _some(values["handler"], "default") else [], LONGEST_HANDLER)
        and _are_texts(_given(values["dedupe_key"]), LONGEST_DEDUPE_KEY)
        and _are_numbers(values["priority"], SMALLEST_PRIORITY, GREATEST_PRIORITY)
        and _are_numbers(_given(values["max_attempts"]), 1, MOST_ATTEMPTS)
        and all(each > timedelta(0) for each in _given(values["timeout"]))
    )


def _given(values: list[Any]) -> list[Any]:
    return [each for each in values if each is not None] if _some(values) else []


def _are_texts(values: list[Any], longest: int) -> bool:
    if set(map(type, values)) != {str}:
        return not values
    lengths = set(map(len, values))
    return 0 not in lengths and max(lengths) <= longest and _is_clean("\n".join(values))


def _are_numbers(values: list[Any], least: int, most: int) -> bool:
    return not values or (set(map(type, values)) == {int} and least <= min(values) and max(values) <= most)


def _are_clean_json(texts: list[str | None]) -> bool:
    whole = "\n".join(_given(texts if _some(texts, texts[0]) else texts[:1]))
    return _is_clean(whole) and "\\u0000" not in whole


def length(texts: Texts) -> int:
    """Return how many characters the texts have together."""
    return sum(sum(map(len, _given(column))) for column in texts.values())


def lines(texts: Texts, start: int, stop: int) -> str:
    """Return the revisions from place *start* to before *stop* as COPY reads them, with the columns of *texts*."""
    columns = [_escaped(column[start:stop]) for column in texts.values()]
    rows = columns[0] if len(columns) == 1 else map("\t".join, zip(*columns, strict=True))
    return "\n".join(rows) + "\n"


def _escaped(column: list[str | None]) -> list[str]:
    known = [text for text in column if text is not None]
    if len(known) == len(column) and not _SPECIAL.search("".join(known)):
        return known
    return ["\\N" if text is None else text.translate(_ESCAPED) for text in column]
