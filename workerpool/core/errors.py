"""What can go wrong in a handler, and how any error at all becomes a message that a table can hold.

Owns: the errors a handler may raise to be understood, and the cleaning of messages.
Invariant: ``message_of`` never raises, whatever the error does when it is asked for its text.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from workerpool.core.sizes import format_beside

FailureKind = Literal["error", "timeout", "crash", "poison", "invalid_payload", "cancelled"]
#: Characters of a message that are kept: its head, then its tail.
MESSAGE_LIMIT = 8_000


class Fail(Exception):
    """Raised by a handler: this revision fails now, and trying again would not help."""

    def __init__(self, reason: str, kind: FailureKind = "error") -> None:
        self.reason, self.kind = reason, kind
        super().__init__(reason)


class Cancelled(Exception):
    """Raised at a checkpoint: somebody asked this revision to stop."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"cancelled: {reason}")


class Retry(Exception):
    """Raised by a handler: try again, *after* so long (None: as its back-off says); the attempt counts."""

    def __init__(self, after: timedelta | float | None = None, reason: str = "the handler asked for a retry") -> None:
        self.after = timedelta(seconds=after) if isinstance(after, (int, float)) else after
        self.reason = reason
        if self.after is not None and self.after < timedelta(0):
            raise ValueError(f"Retry(after={after!r}): a wait is not negative")
        super().__init__(reason)


class Snooze(Exception):
    """Raised by a handler: not now, but at *until* (aware) or after that long; the attempt is not counted."""

    def __init__(self, until: datetime | timedelta, reason: str = "the handler snoozed") -> None:
        if isinstance(until, datetime) and until.tzinfo is None:
            raise ValueError(f"Snooze(until={until!r}): a time zone is missing")
        self.until, self.reason = until, reason
        super().__init__(reason)

    def delay(self, now: datetime) -> timedelta:
        """Return how long that is from *now* (aware); never negative."""
        length = self.until - now if isinstance(self.until, datetime) else self.until
        return max(length, timedelta(0))


class ClaimLost(Exception):
    """Somebody else has this revision by now: what this attempt does has no effect any more."""

    def __init__(self, revision_id: int, what: str) -> None:
        self.revision_id = revision_id
        super().__init__(f"revision {revision_id} is not this attempt's any more: {what} was refused")


class OutputLimitExceeded(Exception):
    """An attempt printed more than it may; another one may print less."""

    def __init__(self, limit: int, who: str = "it") -> None:
        self.limit = limit
        super().__init__(f"{who} printed more than {format_beside(limit, limit)}")


class InvalidPayload(Fail):
    """The payload is not what the handler can work with."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "invalid_payload")


class HandlerMissing(Fail):
    """No handler of that name is known here."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name, self.known = name, known
        super().__init__(f"no handler {name!r} here; known: {', '.join(sorted(known)) or 'none'}")


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return *text* as PostgreSQL can store it.

    No NUL, no lone surrogate, at most *limit* characters (head and tail).
    """
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]} … {len(text) - limit} characters left out … {text[-half:]}"
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def message_of(error: BaseException) -> str:
    """Return a sentence for *error*: its type and text; only its type where the text cannot be had."""
    name = type(error).__name__
    if isinstance(error, (Fail, Cancelled, Retry, Snooze, OutputLimitExceeded)):
        return clean(str(error.args[0]) if error.args else name)
    try:
        text = str(error)
    except BaseException:  # a handler's own exception class may raise anything here
        return f"{name} (its message cannot be shown)"
    return clean(f"{name}: {text}" if text else name)
