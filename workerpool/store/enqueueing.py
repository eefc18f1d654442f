"""Putting revisions into the queue.

Owns: what a new revision may say, and adding it. Does not own: where it comes from (a file, a flag, a program).
Invariant: revisions are added in the order given; a dedupe key that an unfinished revision of its item holds adds
nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import Cursor, pq

from workerpool.store.session import Connection, Row, rows

#: How many revisions one statement adds; bounds its length against statement_timeout.
BATCH = 5000
#: From how many on they are staged by COPY, which takes less than half of the time; a table must be made for it.
LARGE = 500
LONGEST_ITEM, LONGEST_HANDLER, LONGEST_DEDUPE_KEY = 512, 200, 1000
SMALLEST_PRIORITY, GREATEST_PRIORITY = -32768, 32767
MOST_ATTEMPTS = 2**31 - 1
#: NUL as JSON writes it; after an even number of backslashes, else it is the text of such a backslash.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


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
class Enqueued:
    """What became of a new revision: its id, or that of the unfinished one that has its dedupe key."""

    id: int
    inserted: bool


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


class DedupeContended(Exception):
    """A dedupe key's holder ended again and again while it was looked up."""

    def __init__(self, item: str, key: str) -> None:
        self.item, self.key = item, key
        super().__init__(
            f"item {item!r}: the revision with dedupe key {key!r} changed each time it was looked at; try again"
        )


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
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        yield Problem(name, f"({error})", "JSON: objects, arrays, texts, finite numbers, true, false, null")
        return
    if not _is_clean(text) or _NUL.search(text):
        yield Problem(name, "a text with NUL or half a character", "texts without NUL and lone surrogates")


def enqueue(connection: Connection, schema: str, new: Sequence[NewRevision]) -> list[Enqueued]:
    """Add *new* on a connection, in the caller's transaction where one is open, all or none, and return what became
    of each.

    Raises CannotEnqueue before anything is written, psycopg.Error where the database refuses, DedupeContended.
    """
    for each in new:
        if wrong := list(problems(each)):
            raise CannotEnqueue(wrong)
    if len(new) < 2:
        return _done(connection, schema, new, rows(connection, schema, "enqueue", **_arrays(new))) if new else []
    with _whole(connection):
        if len(new) >= LARGE and _may_copy(connection):
            return _copied(connection, schema, new)
        done: list[Enqueued] = []
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            done += _done(connection, schema, batch, rows(connection, schema, "enqueue", **_arrays(batch)))
        return done


@contextmanager
def _whole(connection: Connection) -> Iterator[None]:
    """Let several statements be all or none; a transaction that is the caller's is left to the caller to commit."""
    if not connection.autocommit and connection.info.transaction_status == pq.TransactionStatus.IDLE:
        Cursor(connection).execute("SELECT")  # begins it: a block that began it would also commit it
    with connection.transaction():
        yield


def _may_copy(connection: Connection) -> bool:
    if connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
        return False
    row = Cursor(connection).execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
    return row is not None and bool(row[0])


def _copied(connection: Connection, schema: str, new: Sequence[NewRevision]) -> list[Enqueued]:
    done: list[Enqueued] = []
    rows(connection, schema, "stage")
    for start in range(0, len(new), BATCH):
        batch = new[start : start + BATCH]
        with Cursor(connection).copy("COPY pg_temp.workerpool_enqueue FROM STDIN") as copy:
            for place, values in enumerate(zip(*_arrays(batch).values(), strict=True)):
                copy.write_row((place, *values))
        done += _done(connection, schema, batch, rows(connection, schema, "enqueue_staged"))
        Cursor(connection).execute("TRUNCATE pg_temp.workerpool_enqueue")
    Cursor(connection).execute("DROP TABLE pg_temp.workerpool_enqueue")
    return done


def _done(connection: Connection, schema: str, new: Sequence[NewRevision], added: list[Row]) -> list[Enqueued]:
    """Return what became of each of *new*, of which *added* were added in this order."""
    plain = iter([row["id"] for row in added if row["dedupe_key"] is None])
    keyed = {(row["item_key"], row["dedupe_key"]): row["id"] for row in added if row["dedupe_key"] is not None}
    done = []
    for each in new:
        if each.dedupe_key is None:
            done.append(Enqueued(next(plain), True))
        elif (key := (each.item, each.dedupe_key)) in keyed:
            done.append(Enqueued(keyed.pop(key), True))
        else:
            done.append(_held(connection, schema, each, each.dedupe_key))
    return done


def _held(connection: Connection, schema: str, new: NewRevision, key: str) -> Enqueued:
    for _ in range(10):
        if found := rows(connection, schema, "dedupe_holder", item=new.item, dedupe_key=key):
            return Enqueued(found[0]["id"], False)
        if added := rows(connection, schema, "enqueue", **_arrays([new])):
            return Enqueued(added[0]["id"], True)
    raise DedupeContended(new.item, key)


def _arrays(new: Sequence[NewRevision]) -> dict[str, list[Any]]:
    return {
        "items": [each.item for each in new],
        "handlers": [each.handler for each in new],
        "payloads": [json.dumps(each.payload, ensure_ascii=False) for each in new],
        "drafts": [each.draft for each in new],
        "priorities": [each.priority for each in new],
        "run_ats": [each.run_at for each in new],
        "dedupe_keys": [each.dedupe_key for each in new],
        "attempts": [each.max_attempts for each in new],
        "timeouts": [each.timeout.total_seconds() if each.timeout is not None else None for each in new],
        "metadata": [
            json.dumps(each.metadata, ensure_ascii=False) if each.metadata is not None else None for each in new
        ],
    }


def keep_originals(connection: Connection, schema: str, originals: dict[str, object]) -> set[str]:
    """Keep the content of items that are seen for the first time; returns those items."""
    kept: set[str] = set()
    keys = list(originals)
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        texts = [json.dumps(originals[key], ensure_ascii=False) for key in batch]
        kept |= {row["item_key"] for row in rows(connection, schema, "keep_original", items=batch, originals=texts)}
    return kept
