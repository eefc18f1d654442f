"""What every request passes: the name it asks for, who asks, how often, how much, and from which page.

Owns: the order of these checks, and the headers of every answer. Does not own: what a role may do (``guard``).
Invariant: a body is read by nobody
before its size is bounded, and by nobody unknown beyond what a login needs; a page of another site can change nothing.
Sources: Fetch metadata
(W3C), OWASP on cross-site request forgery and on DNS rebinding.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workerpool import logs
from workerpool.api.face import Face
from workerpool.api.http.guard import COOKIE, Guard, Subject
from workerpool.api.http.problems import of_error, problem
from workerpool.api.http.rate import MISTAKES, REQUESTS, Buckets

log = logs.get("api")
SAFE = ("GET", "HEAD", "OPTIONS")
#: Bytes of a body: of somebody unknown, of a webhook, of somebody known.
UNKNOWN, DELIVERY, KNOWN = 64 * 1024, 1024 * 1024, 16 * 1024 * 1024
WEBHOOKS = ("/webhook/", "/webhooks/")
#: Health is asked often, and by those who have no token.
HEALTH = ("/healthz", "/readyz", "/health")
#: What a browser is told with every answer; pages have a policy of their own.
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Gate:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, face: Face, guard: Guard) -> None:
        self._app, self._guard = app, guard
        self._names = {"localhost", socket.gethostname().lower(), face.brief.host.lower()}
        self._names |= {name.lower() for name in face.brief.hosts}
        self._requests, self.mistakes = Buckets(REQUESTS), Buckets(MISTAKES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, told = time.monotonic(), _Told(send)
        scope["path"] = _path(scope)
        try:
            refused = await self._refusal(scope)
            if refused is not None:
                await refused(scope, receive, told)
            else:
                subject = scope["workerpool.subject"]
                most = DELIVERY if scope["path"].startswith(WEBHOOKS) else KNOWN if subject is not None else UNKNOWN
                await _bounded(self._app, scope, receive, told, most)
        except Exception as error:
            if told.status:
                raise
            await of_error(error)(scope, receive, told)
        log.debug(
            "request.answered",
            method=scope["method"],
            path=scope["path"],
            status=told.status,
            seconds=round(time.monotonic() - began, 4),
        )

    @staticmethod
    def mistake(request: Request) -> None:
        """Note that somebody said something wrong about who they are."""
        gate: Gate = request.scope["workerpool.gate"]
        gate.mistakes.take(_address(request.scope))

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return why a request is refused, having noted who asks; None: it is not."""
        headers, path = Headers(scope=scope), scope["path"]
        scope["workerpool.subject"], scope["workerpool.gate"] = None, self
        if not self._is_ours(headers.get("host", "")):
            return problem(
                403, "this server does not answer to that name; WORKERPOOL_HTTP_HOSTS lists those it does", "host"
            )
        if path in HEALTH:
            return None
        address = _address(scope)
        says_who = "authorization" in headers or path == "/login"
        if says_who and (wait := self.mistakes.wait(address)):
            return _slower(wait)
        subject, is_wrong = await self._who(scope, headers)
        if is_wrong and not path.startswith(WEBHOOKS):
            self.mistakes.take(address)
            return problem(401, "this token is not known, or no longer", headers={"WWW-Authenticate": "Bearer"})
        scope["workerpool.subject"] = subject
        if wait := self._requests.take(subject.name if subject is not None else f"address {address}"):
            return _slower(wait)
        if scope["method"] not in SAFE and not is_from_here(headers, subject):
            return problem(403, "the request came from a page of another site", "cross-site")
        if headers.get("content-encoding", "identity") != "identity":
            return problem(415, "a body is taken as it is, without Content-Encoding")
        return None

    async def _who(self, scope: Scope, headers: Headers) -> tuple[Subject | None, bool]:
        """Return who asks, and whether a token was given that is nobody's."""
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and secret:
            subject = await anyio.to_thread.run_sync(self._guard.who_has, secret.strip())
            return subject, subject is None
        cookie = Request(scope).cookies.get(COOKIE)
        if cookie:
            subject = await anyio.to_thread.run_sync(self._guard.who_returns, cookie)
            if subject is not None:
                return subject, False
        return (self._guard.anybody() if self._guard.is_open else None), False

    def _is_ours(self, host: str) -> bool:
        """Tell whether a name is one of ours: a page cannot make a browser send an address, or a name of this
        machine, for its own.
        """
        name = urlsplit(f"//{host}").hostname if host else None
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True


def _address(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else "local"


def is_from_here(headers: Headers, subject: Subject | None) -> bool:
    """Tell whether a request that changes something came from a page of ours, or from no page at all.

    A bearer token is never sent by a browser of its own accord. A cookie is, and so is nothing at all where no token
    is needed.
    """
    if subject is not None and not subject.by_cookie and not subject.is_open:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is not None:
        return origin != "null" and urlsplit(origin).netloc == headers.get("host")
    return subject is None or not subject.by_cookie  # a program: a browser says at least one of them


def _slower(wait: float) -> Response:
    return problem(429, "too many requests; wait a moment", headers={"Retry-After": str(math.ceil(wait))})


def _path(scope: Scope) -> str:
    """Return the path with slashes and percent signs as they were sent: so a name with a slash is one part of it."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    text = raw.partition(b"?")[0].decode("latin-1")
    return unquote(text.replace("%25", "%2525").replace("%2F", "%252F").replace("%2f", "%252F"))


class _Told:
    """Sends an answer with the headers of all, and knows its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


async def _bounded(app: ASGIApp, scope: Scope, receive: Receive, send: Send, most: int) -> None:
    """Run *app* with a body of at most *most* bytes; a larger one is answered with 413, as soon as it is seen."""
    declared = Headers(scope=scope).get("content-length", "0")
    too_large = problem(413, f"a body of at most {most} bytes is taken here")
    if not declared.isdecimal() or int(declared[:20]) > most:
        await too_large(scope, receive, send)
        return
    taken, answered = 0, False

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise _TooLarge
        return message

    async def watched(message: Message) -> Any:
        nonlocal answered
        if taken <= most:
            await send(message)
        elif not answered:  # whatever became of the error on its way
            answered = True
            await too_large(scope, receive, send)

    try:
        await app(scope, counted, watched)
    except _TooLarge:
        if not answered:
            await too_large(scope, receive, send)


class _TooLarge(Exception):
    """More of a body than may be sent."""
