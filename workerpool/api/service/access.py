"""Who may ask: tokens of the HTTP API beside the one of the settings.

Owns: how a token looks and is told from another. Does not own: what a role may do (``http.guard``).
Invariant: the secret is shown once, when it is made, and kept nowhere; what is kept is a digest, which finds it and
gives nothing away.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from workerpool.api.service.refusals import NotInThisState, NotValid, Refusal
from workerpool.store.session import Row, Session

Role = Literal["viewer", "operator", "worker", "source"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "worker", "source")
#: So that it is known for what it is where it is found.
PREFIX = "wp_"


class NoSuchToken(Refusal):
    """No token in force has this name."""

    kind, name = "missing", "no-such-token"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no token {name} in force; `workerpool tokens list` lists them")


def digest(secret: str) -> bytes:
    """Return what is kept of a token.

    (It is 32 random bytes: nobody can try them all, so that the hash need not be slow.)
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def add(
    session: Session,
    name: str,
    role: Role,
    who: str,
    *,
    scopes: Sequence[str] | None = None,
    valid: timedelta | None = None,
) -> tuple[str, Row]:
    """Make a token and return its secret, which nobody can show again, and its row. Raises NotInThisState, NotValid."""
    if scopes is not None and role not in ("worker", "source"):
        raise NotValid(f"a {role} has no scopes; allowed: handlers for a worker, one name for a source")
    if role == "source" and (scopes is None or len(scopes) != 1):
        raise NotValid("a token for a source names the one source that it may speak for")
    secret = PREFIX + secrets.token_urlsafe(32)
    asked = {"name": name, "role": role, "scopes": list(scopes) if scopes is not None else None, "valid": valid}
    row = session.row("add_token", digest=digest(secret), who=who, **asked)
    if row is None:
        raise NotInThisState(f"there is a token {name} already; `workerpool tokens revoke {name}` takes it away")
    return secret, row


def listing(session: Session, *, everyone: bool = False) -> list[Row]:
    """Return the tokens in force, or all that ever were."""
    return session.rows("tokens", all=everyone)


def revoke(session: Session, name: str) -> Row:
    """Let the holder of a token in no longer. Raises NoSuchToken."""
    row = session.row("revoke_token", name=name)
    if row is None:
        raise NoSuchToken(name)
    return row


def who_has(session: Session, secret: str) -> Row | None:
    """Return name, role and scopes of a token in force; None: nobody's."""
    return session.row("token_of", digest=digest(secret))
