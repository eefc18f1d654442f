"""What can go wrong in a handler, and how any error at all becomes a message that a table can hold.

Owns: the errors a handler may raise to be understood, and the cleaning of messages.
Invariant: ``message_of`` never raises, whatever the error does when it is asked for its text.
"""

from __future__ import annotations

from typing import Literal

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
    if isinstance(error, (Fail, Cancelled)):
        return clean(str(error.args[0]) if error.args else name)
    try:
        text = str(error)
    except BaseException:  # a handler's own exception class may raise anything here
        return f"{name} (its message cannot be shown)"
    return clean(f"{name}: {text}" if text else name)
