"""Who asks, and what they may: tokens, sessions of browsers, roles.

Owns: how somebody is known. Does not own: the tokens (``service.access``), or what a request may look like (``gate``).
Invariant: a secret is compared in constant time and stands in no log, no answer and no address. Source: RFC 6750.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from itsdangerous import BadSignature, URLSafeTimedSerializer

from workerpool.api.face import Face
from workerpool.api.service import access
from workerpool.api.service.access import Role

COOKIE = "workerpool_session"
#: Seconds: how long a browser stays logged in, and how long a token that was looked up is not looked up again.
SESSION, REMEMBERED = 12 * 3600, 2.0
#: Tokens that are remembered at once.
MOST = 1_000


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody who asks: under which name it is recorded, and what it may."""

    name: str
    role: Role
    scopes: tuple[str, ...] | None = None
    by_cookie: bool = False
    is_open: bool = False
    """Nobody had to say who they are: no token is set, and only this machine can ask."""

    def may(self, *roles: Role) -> bool:
        """Tell whether one of *roles* is this one's; an operator has all of them."""
        return self.role == "operator" or self.role in roles


class Guard:
    """Knows who asks."""

    def __init__(self, face: Face) -> None:
        self._face = face
        token = face.brief.token
        self._operator = access.digest(token) if token else None
        key = hashlib.sha256(b"workerpool session " + token.encode()).digest() if token else b""
        self._sessions = URLSafeTimedSerializer(key, salt="workerpool") if token else None
        self._known: dict[bytes, tuple[float, Subject | None]] = {}

    @property
    def is_open(self) -> bool:
        """Tell whether nobody needs to say who they are."""
        return self._operator is None

    def who_has(self, secret: str) -> Subject | None:
        """Return whose *secret* it is; None: nobody's. Raises NoSession: only the database knows."""
        found = access.digest(secret)
        if self._operator is not None and hmac.compare_digest(found, self._operator):
            return Subject("api", "operator")
        at, subject = self._known.get(found, (0.0, None))
        if time.monotonic() - at < REMEMBERED:
            return subject
        with self._face.session() as session:
            row = access.who_has(session, secret)
        subject = None
        if row is not None:
            subject = Subject(row["name"], row["role"], tuple(row["scopes"]) if row["scopes"] is not None else None)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[found] = time.monotonic(), subject
        return subject

    def log_in(self, secret: str) -> str | None:
        """Return what a browser keeps to be known again; None: the token is nobody's."""
        subject = self.who_has(secret)
        if subject is None or self._sessions is None or not subject.may("viewer"):
            return None
        # A token of the database is looked up again by its digest, so that a revoked one ends its sessions too.
        mark = "" if subject.name == "api" else access.digest(secret).hex()
        return str(self._sessions.dumps([subject.name, mark]))

    def who_returns(self, cookie: str) -> Subject | None:
        """Return who was logged in; None: nobody, or too long ago, or not any more."""
        if self._sessions is None:
            return None
        try:
            name, mark = self._sessions.loads(cookie, max_age=SESSION)
        except (BadSignature, ValueError, TypeError):
            return None
        if not mark:
            return Subject(name, "operator", by_cookie=True)
        with self._face.session() as session:
            row = session.row("token_of", digest=bytes.fromhex(mark))
        return Subject(row["name"], row["role"], by_cookie=True) if row is not None else None

    def anybody(self) -> Subject:
        """Return who asks where nobody needs to say."""
        return Subject("local", "operator", is_open=True)


BEARER = HTTPBearer(
    auto_error=False,
    description="WORKERPOOL_API_TOKEN, or a token of `workerpool tokens add`. Where none is set none is needed, here.",
)


def subject_of(request: Request) -> Subject | None:
    """Return who asks, as the gate found out."""
    found: Subject | None = request.scope.get("workerpool.subject")
    return found


def needs(*roles: Role) -> Callable[..., Subject]:
    """Return a dependency that lets only subjects with one of *roles* through."""

    def known(request: Request, _token: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> Subject:
        subject = subject_of(request)
        if subject is None:
            raise HTTPException(401, "a token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
        if not subject.may(*roles):
            allowed = " or ".join(dict.fromkeys([*roles, "operator"]))
            raise HTTPException(403, f"the token {subject.name} is a {subject.role}'s; this needs a {allowed}'s")
        return subject

    return known


Viewer = Annotated[Subject, Depends(needs("viewer"))]
Operator = Annotated[Subject, Depends(needs("operator"))]
Worker = Annotated[Subject, Depends(needs("worker"))]


def face_of(request: Request) -> Face:
    """Return what the application stands on."""
    face: Face = request.app.state.face
    return face


Stands = Annotated[Face, Depends(face_of)]
