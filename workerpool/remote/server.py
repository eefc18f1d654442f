"""What a remote worker says to the server: JSON over one connection that is kept open.

Owns: the connection, and what each kind of answer means. Does not own: when something is said again. Invariant: the
token goes to the one address that it was given for, in a header, and stands in no message of an error.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from workerpool import logs

log = logs.get("remote")
#: Statuses that are no verdict on what was asked: the same may be asked again.
PASSING = frozenset({408, 425, 429})
_TOKEN = re.compile(r"[\x21-\x7e]+")
#: A connection that was kept may have been closed by the other side meanwhile: then nothing was heard of the request.
_CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Away(Exception):
    """Nobody answered, or not with an answer; *after*: the seconds that the server asked to wait."""

    def __init__(self, why: str, after: float | None = None) -> None:
        self.after = after
        super().__init__(why)


class ClaimGone(Exception):
    """The server says that the claim is no longer in force: nothing was written."""


class Refused(Exception):
    """The server understood, and will refuse the same again."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(f"the server refused with {status}: {why}")


class Server:
    """One server, under one token."""

    def __init__(self, url: str, token: str | None) -> None:
        """Connect to nothing yet. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"the server's address is {url!r}; allowed: such as http://127.0.0.1:3031")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the server's address holds a password; a token is given by itself, as token=")
        if token is not None and not _TOKEN.fullmatch(token):
            raise ValueError("the token holds a character that no token has: a space, or a line's end?")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json", "User-Agent": "workerpool-remote"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._is_away = False

    def ask(self, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Say *body* and return the answer, waiting *timeout* seconds at most for each of its steps.

        Raises Away, ClaimGone, Refused.
        """
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        try:
            answer = self._answer(path, data, timeout)
        except Away as error:
            if not self._is_away:
                self._is_away = True
                log.warning("server.lost", error=str(error))
            raise
        if self._is_away:
            self._is_away = False
            log.info("server.regained")
        return answer

    def _answer(self, path: str, data: bytes, timeout: float) -> dict[str, Any]:
        try:
            status, headers, text = self._exchange(path, data, timeout)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Away(str(error) or type(error).__name__) from None
        answer = _object(text)
        if 200 <= status < 300 and answer is not None:
            return answer
        why = str((answer or {}).get("detail") or (answer or {}).get("title") or "its answer is not a workerpool's")
        if status == 409:
            raise ClaimGone(why)
        if status in PASSING or status >= 500:
            raise Away(f"{status}: {why}", _seconds(headers.get("Retry-After")))
        raise Refused(status, why)

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        self._connection.close()

    def _exchange(self, path: str, data: bytes, timeout: float) -> tuple[int, Mapping[str, str], bytes]:
        connection, kept = self._connection, self._connection.sock is not None
        connection.timeout = timeout
        if kept:
            connection.sock.settimeout(timeout)
        try:
            connection.request("POST", self._prefix + path, data, self._headers)
            response = connection.getresponse()
        except _CLOSED:
            connection.close()
            if not kept:
                raise
            return self._exchange(path, data, timeout)
        return response.status, response.headers, response.read()  # type: ignore[return-value]


def _object(text: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
