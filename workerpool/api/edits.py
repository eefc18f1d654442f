"""What an imported file may say: JSON array, JSON lines, CSV; the seed system's `.pending-edits.json` too.

Owns: the forms, the fields, and what is wrong with each entry. Does not own: adding them (``store.enqueueing``). Pure:
text in, entries
out. Invariant: an entry without a complaint can be enqueued as it is.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from workerpool.config.instants import INSTANTS, parse_instant
from workerpool.core.durations import ALLOWED, BadDuration, parse_duration
from workerpool.store.enqueueing import NewRevision, Problem, problems

#: The names an item may have in a file; the second is the seed system's.
ITEM_FIELDS = ("item_key", "app_slug")
#: Fields that are columns; everything else is payload.
COLUMNS = ("handler", "priority", "run_at", "dedupe_key", "max_attempts", "timeout_seconds", "metadata")
ORIGINAL = "html_content"
#: A cell that is a whole number; a longer one is none that a column can hold.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
#: As the limit of WORKERPOOL_TIMEOUT.
LONGEST = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file: where it stands, the revision it asks for, and the page that came with it."""

    where: str
    new: NewRevision
    html: str | None


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with an entry, or with the whole file."""

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class NotReadable(Exception):
    """The text is in none of the forms."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}; allowed: a JSON array of objects, JSON lines (an object a line), or CSV with a header line"
        )


def read(text: str, form: str) -> tuple[list[Entry], list[Complaint]]:
    """Return the entries of *text* (form `array`, `lines`, `csv`, or `auto`: judged by its first character), and every
    complaint.

    Raises NotReadable where the text as a whole is not of that form.
    """
    return _entries(_objects(text.removeprefix("\ufeff"), form))


def take(found: Sequence[object]) -> tuple[list[Entry], list[Complaint]]:
    """Return the entries that the values of a JSON array ask for, and every complaint."""
    return _entries((f"entry {number}", _checked(each)) for number, each in enumerate(found, start=1))


def _entries(objects: Iterable[tuple[str, dict[str, Any] | str]]) -> tuple[list[Entry], list[Complaint]]:
    entries: list[Entry] = []
    complaints: list[Complaint] = []
    for where, found in objects:
        if isinstance(found, str):
            complaints.append(Complaint(where, found))
            continue
        entry, wrong = _entry(where, found)
        complaints += [Complaint(where, problem) for problem in wrong]
        if entry is not None:
            entries.append(entry)
    return entries, complaints


def _objects(text: str, form: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield where each object stands, and the object; or a sentence where there should be one."""
    first = text.lstrip()[:1]
    if form == "auto":
        form = {"[": "array", "{": "lines", "": "lines"}.get(first, "csv")
    match form:
        case "array":
            found = _array(text)
            yield from ((f"entry {number}", _checked(each)) for number, each in enumerate(found, start=1))
        case "lines":
            for number, line in enumerate(text.splitlines(), start=1):
                if line.strip():
                    yield f"line {number}", _line(line)
        case _:
            yield from _csv(text)


def _array(text: str) -> list[Any]:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotReadable(f"it is not JSON: {error}") from None
    if not isinstance(found, list):
        raise NotReadable(f"it is a JSON {type(found).__name__}, not an array")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _checked(found: object) -> dict[str, Any] | str:
    return (
        found if isinstance(found, dict) else f"{json.dumps(found)[:60]} is no object; allowed: objects with item_key"
    )


def _line(line: str) -> dict[str, Any] | str:
    try:
        return _checked(json.loads(line, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}; allowed: one object a line"


def _csv(text: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if not any(name in names for name in ITEM_FIELDS):
            raise NotReadable(
                f"its first line is {','.join(names)[:80]!r}, a CSV header needs a column item_key or app_slug"
            )
        if double := {name for name in names if names.count(name) > 1}:
            raise NotReadable(f"its header names {', '.join(sorted(double))} twice")
        reader.fieldnames = names
        for row in reader:
            yield f"line {reader.line_num}", _csv_row(row)
    except csv.Error as error:
        yield f"line {reader.line_num}", f"it is not CSV: {error}"


def _csv_row(row: dict[Any, Any]) -> dict[str, Any] | str:
    if None in row:
        return "it has more cells than the header; a cell with a comma needs quotes"
    found: dict[str, Any] = {name: cell for name, cell in row.items() if cell not in ("", None)}
    for name in ("payload", "metadata"):
        if name in found:
            try:
                found[name] = json.loads(found[name], parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                return f"{name} is not JSON: {error}; allowed: a JSON object"
    for name in ("priority", "max_attempts", "timeout_seconds"):
        if name in found and _WHOLE.fullmatch(found[name]):
            found[name] = int(found[name])
    return found


def _entry(where: str, found: dict[str, Any]) -> tuple[Entry | None, list[str]]:
    """Return the entry that an object asks for, and what is wrong with it."""
    rest = dict(found)
    items = {name: rest.pop(name) for name in ITEM_FIELDS if rest.get(name) is not None}
    if not items:
        return None, ["it names no item; allowed: item_key or app_slug, a text of 1 to 512 characters"]
    if any(value != next(iter(items.values())) for value in items.values()):
        return None, [f"item_key is {items['item_key']!r} and app_slug is {items['app_slug']!r}; allowed: one of them"]
    item, named = next(iter(items.values())), next(iter(items))
    columns = {name: _whole(value) for name in COLUMNS if (value := rest.pop(name, None)) is not None}
    wrong: list[str] = []
    payload = _payload(rest, wrong)
    new = NewRevision(
        item,
        payload,
        columns.get("handler", "default"),
        columns.get("priority", 0),
        _run_at(columns.get("run_at"), wrong),
        columns.get("dedupe_key"),
        max_attempts=columns.get("max_attempts"),
        timeout=_timeout(columns.get("timeout_seconds"), wrong),
        metadata=columns.get("metadata"),
    )
    wrong += [str(Problem(named, p.value, p.allowed) if p.field == "item" else p) for p in problems(new)]
    html = rest.get(ORIGINAL)
    return Entry(where, new, html if isinstance(html, str) and html.strip() else None), wrong


def _whole(value: Any) -> Any:
    """Return a number that is whole as one: JSON knows no difference between 2 and 2.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _payload(rest: dict[str, Any], wrong: list[str]) -> dict[str, Any]:
    html = rest.get(ORIGINAL)
    if html is not None and not isinstance(html, str):
        wrong.append(str(Problem(ORIGINAL, html, "the text of a page")))
    given = rest.pop("payload", None)
    if given is None:
        return rest
    if not isinstance(given, dict):
        wrong.append(str(Problem("payload", given, "a JSON object")))
        return rest
    if both := sorted(given.keys() & rest.keys()):
        wrong.append(f"{', '.join(both)} stands both inside payload and beside it; allowed: once")
    return {**given, **rest}


def _run_at(value: object, wrong: list[str]) -> datetime | None:
    if value is None:
        return None
    try:
        found = parse_instant(value) if isinstance(value, str) else parse_instant(repr(value))
        return found.astimezone(UTC)  # (the database knows fewer time zones)
    except (ValueError, OverflowError):
        wrong.append(str(Problem("run_at", value, INSTANTS)))
        return None


def _timeout(value: object, wrong: list[str]) -> timedelta | None:
    if value is None:
        return None
    try:
        length = parse_duration(str(value))
    except BadDuration:
        length = timedelta(0)
    if not timedelta(0) < length <= LONGEST:
        wrong.append(str(Problem("timeout_seconds", value, f"more than 0 and at most 365 days, {ALLOWED}")))
        return None
    return length


def originals(entries: Iterable[Entry]) -> dict[str, object]:
    """Return the first page that came with each item, as its original."""
    found: dict[str, object] = {}
    for entry in entries:
        if entry.html is not None:
            found.setdefault(entry.new.item, {"html": entry.html})
    return found
