"""What the service refuses: one small class each, with the sentence that people read.

Invariant: a sentence says what, and what would do; none holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

Kind = Literal["missing", "refused", "invalid", "forbidden", "changed"]


class Refusal(Exception):
    """Something that cannot be done; *facts* are for programs."""

    kind: ClassVar[Kind] = "refused"
    name: ClassVar[str] = "refused"

    def __init__(self, detail: str, **facts: object) -> None:
        self.detail: str = detail
        self.facts: Mapping[str, object] = facts
        super().__init__(detail)


class NoSuchRevision(Refusal):
    """There is no revision with this id."""

    kind, name = "missing", "no-such-revision"

    def __init__(self, revision: int) -> None:
        super().__init__(f"there is no revision {revision}", id=revision)


class NoSuchItem(Refusal):
    """Nothing was ever heard of this item, or of a number of its history."""

    kind, name = "missing", "no-such-item"

    def __init__(self, item: str, what: str = "") -> None:
        super().__init__(what or f"nothing is known of an item {item}", itemKey=item)


class NoSuchSource(Refusal):
    """No webhook source has this name."""

    kind, name = "missing", "no-such-source"

    def __init__(self, source: str) -> None:
        super().__init__(f"there is no webhook source {source[:100]!r}; the file of WORKERPOOL_SOURCES names them")


class NotInThisState(Refusal):
    """It is there, and in a state that forbids this."""

    name = "not-in-this-state"


class NotValid(Refusal):
    """What was asked is not what the queue can hold."""

    kind, name = "invalid", "not-valid"


class VersionChanged(Refusal):
    """The pause is not as the caller saw it."""

    kind, name = "changed", "version-changed"

    def __init__(self, expected: int, version: int) -> None:
        told = f"the pause has version {version} by now, not {expected}: somebody changed it; look again"
        super().__init__(told, version=version)


class KeyReused(Refusal):
    """An idempotency key came with another request before."""

    kind, name = "invalid", "key-reused"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key came with another request before; a new request needs a new key")


class ClaimLost(Refusal):
    """The claim token is not the row's: nothing was written (R16). The same words whatever the token was."""

    name = "claim-lost"

    def __init__(self, revision: int) -> None:
        super().__init__(f"the claim of revision {revision} is no longer in force: nothing was written", id=revision)


class NotYours(Refusal):
    """The claim is in force, and somebody else's; or the handler is not one that this token may claim."""

    kind, name = "forbidden", "not-yours"
