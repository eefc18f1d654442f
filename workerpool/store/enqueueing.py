"""Putting revisions into the queue.

Owns: adding revisions. Does not own: what one may say (``asked``), where it comes from (a file, a flag, a program).
Invariant: revisions are added in the order given, and each gets its id as it is inserted, never before; a dedupe key
that an unfinished revision of its item holds adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import Cursor, RawCursor, errors, pq, sql
from psycopg.rows import tuple_row

from workerpool.store.asked import UNSAID, CannotEnqueue, NewRevision, Problem, Texts, length, lines, problems, written
from workerpool.store.connection import statement
from workerpool.store.session import Connection, Row, rows

__all__ = [
    "CannotEnqueue",
    "DedupeContended",
    "Enqueued",
    "NewRevision",
    "NotAdded",
    "Problem",
    "enqueue",
    "keep_originals",
    "problems",
]

#: How many revisions one statement adds; bounds its length against statement_timeout.
BATCH = 5000
#: How many a COPY adds, and how many characters of them; each takes a few milliseconds more than its rows.
COPIED, LONG = 20_000, 10_000_000
#: From how many on COPY is quicker; and where some have a dedupe key, for which a table must be made first.
LARGE, LARGE_WITH_KEYS = 100, 500


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a new revision: its id, or that of the unfinished one that has its dedupe key."""

    id: int
    inserted: bool


class DedupeContended(Exception):
    """A dedupe key's holder ended again and again while it was looked up."""

    def __init__(self, item: str, key: str) -> None:
        self.item, self.key = item, key
        super().__init__(
            f"item {item!r}: the revision with dedupe key {key!r} changed each time it was looked at; try again"
        )


class NotAdded(Exception):
    """A trigger of somebody's on the table took a new revision away."""

    def __init__(self, item: str) -> None:
        self.item = item
        super().__init__(f"item {item!r}: the revision was not added: a trigger on the table revisions took it away")


class _Astray(Exception):
    """What was copied is not in the table as it was sent: a trigger of somebody's took rows away, or added some."""


def enqueue(connection: Connection, schema: str, new: Sequence[NewRevision]) -> list[Enqueued]:
    """Add *new* on a connection, in the caller's transaction where one is open, all or none, and return what became
    of each.

    Raises CannotEnqueue before anything is written, psycopg.Error where the database refuses, DedupeContended,
    NotAdded.
    """
    if not new:
        return []
    texts = written(new)
    if len(new) == 1:
        return [_single(connection, schema, new[0], texts)]
    piped = connection.pgconn.pipeline_status != pq.PipelineStatus.OFF  # which has no COPY
    if len(new) >= LARGE and "dedupe_key" not in texts and not piped:
        try:
            with _whole(connection):
                return _copied(connection, schema, texts)
        except (_Astray, errors.InsufficientPrivilege, errors.FeatureNotSupported):
            pass  # nothing of it is left: add them in a way that asks for less
    with _whole(connection):
        if len(new) >= LARGE_WITH_KEYS and not piped and _may_stage(connection):
            return _staged(connection, schema, new, texts)
        return _by_arrays(connection, schema, new, texts)


@contextmanager
def _whole(connection: Connection) -> Iterator[None]:
    """Let several statements be all or none; a transaction that is the caller's is left to the caller to commit."""
    if not connection.autocommit and connection.info.transaction_status == pq.TransactionStatus.IDLE:
        Cursor(connection).execute("SELECT")  # begins it: a block that began it would also commit it
    with connection.transaction():
        yield


def _single(connection: Connection, schema: str, new: NewRevision, texts: Texts) -> Enqueued:
    if (id := _inserted(connection, schema, texts, 0)) is not None:
        return Enqueued(id, True)
    return _held(connection, schema, new)


def _held(connection: Connection, schema: str, new: NewRevision) -> Enqueued:
    """Return what became of one that was not added. Raises DedupeContended, NotAdded."""
    if new.dedupe_key is None:
        raise NotAdded(new.item)
    for _ in range(10):
        if found := rows(connection, schema, "dedupe_holder", item=new.item, dedupe_key=new.dedupe_key):
            return Enqueued(found[0]["id"], False)
        if (id := _inserted(connection, schema, written([new]), 0)) is not None:
            return Enqueued(id, True)
    raise DedupeContended(new.item, new.dedupe_key)


def _inserted(connection: Connection, schema: str, texts: Texts, place: int) -> int | None:
    """Add the revision at *place* and return its id; None: it was not added."""
    values = [texts[name][place] if name in texts else unsaid for name, unsaid in UNSAID.items()]
    # (not the connection's own cursor: the caller's may want other parameters)
    with RawCursor(connection, row_factory=tuple_row) as cursor:
        row = cursor.execute(statement("enqueue_one", schema), values).fetchone()
    return int(row[0]) if row is not None else None


def _copied(connection: Connection, schema: str, texts: Texts) -> list[Enqueued]:
    """Add revisions, of which none has a dedupe key, by COPY. Raises _Astray.

    COPY does not tell the ids that it gave, but they rise: all lie between those of the first and the last, which are
    inserted by a statement that tells. Where nobody else got one in between, they are all the numbers between.
    """
    count, between = len(texts["item_key"]), 0
    if (first := _inserted(connection, schema, texts, 0)) is None:
        raise _Astray
    done = [Enqueued(first, True)]
    into = sql.SQL("COPY {}.revisions ({}) FROM STDIN").format(
        sql.Identifier(schema), sql.SQL(", ").join(map(sql.Identifier, texts))
    )
    step = _step(texts)
    for start in range(1, count - 1, step):
        stop = min(start + step, count - 1)
        with Cursor(connection) as cursor:
            with cursor.copy(into) as copy:
                copy.write(lines(texts, start, stop))
                # What is likely, made while the server is busy: it takes a fifth of the whole time.
                done += [Enqueued(id, True) for id in range(first + start, first + stop)]
            between += cursor.rowcount
    last = _inserted(connection, schema, texts, count - 1)
    if last is None or between != count - 2:
        raise _Astray
    if last == first + count - 1:
        return [*done, Enqueued(last, True)]
    ids = [row["id"] for row in rows(connection, schema, "copied", first=first, last=last)]
    if len(ids) != count:
        raise _Astray
    return [Enqueued(id, True) for id in ids]


def _step(texts: Texts) -> int:
    """Return how many revisions of these one COPY is to add."""
    return max(1, min(COPIED, LONG * len(texts["item_key"]) // length(texts)))


def _may_stage(connection: Connection) -> bool:
    with Cursor(connection, row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
    return row is not None and bool(row[0])


def _staged(connection: Connection, schema: str, new: Sequence[NewRevision], texts: Texts) -> list[Enqueued]:
    """Add revisions by way of a table of this session, which COPY fills."""
    done: list[Enqueued] = []
    rows(connection, schema, "stage")
    into = sql.SQL("COPY pg_temp.workerpool_enqueue ({}) FROM STDIN").format(
        sql.SQL(", ").join(map(sql.Identifier, texts))
    )
    step = _step(texts)
    for start in range(0, len(new), step):
        stop = min(start + step, len(new))
        with Cursor(connection).copy(into) as copy:
            copy.write(lines(texts, start, stop))
        done += _done(connection, schema, new[start:stop], rows(connection, schema, "enqueue_staged"))
        Cursor(connection).execute("TRUNCATE pg_temp.workerpool_enqueue")
    Cursor(connection).execute("DROP TABLE pg_temp.workerpool_enqueue")
    return done


def _by_arrays(connection: Connection, schema: str, new: Sequence[NewRevision], texts: Texts) -> list[Enqueued]:
    done: list[Enqueued] = []
    for start in range(0, len(new), BATCH):
        stop = min(start + BATCH, len(new))
        added = rows(connection, schema, "enqueue", **_arrays(texts, start, stop))
        done += _done(connection, schema, new[start:stop], added)
    return done


def _arrays(texts: Texts, start: int, stop: int) -> dict[str, list[str | None]]:
    return {
        name: texts[name][start:stop] if name in texts else [unsaid] * (stop - start) for name, unsaid in UNSAID.items()
    }


def _done(connection: Connection, schema: str, new: Sequence[NewRevision], added: list[Row]) -> list[Enqueued]:
    """Return what became of each of *new*, of which *added* were added in this order."""
    plain = iter([row["id"] for row in added if row["dedupe_key"] is None])
    keyed = {(row["item_key"], row["dedupe_key"]): row["id"] for row in added if row["dedupe_key"] is not None}
    done = []
    for each in new:
        own = next(plain, None) if each.dedupe_key is None else keyed.pop((each.item, each.dedupe_key), None)
        done.append(Enqueued(own, True) if own is not None else _held(connection, schema, each))
    return done


def keep_originals(connection: Connection, schema: str, originals: dict[str, object]) -> set[str]:
    """Keep the content of items that are seen for the first time; returns those items."""
    kept: set[str] = set()
    keys = list(originals)
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        texts = [json.dumps(originals[key], ensure_ascii=False) for key in batch]
        kept |= {row["item_key"] for row in rows(connection, schema, "keep_original", items=batch, originals=texts)}
    return kept
