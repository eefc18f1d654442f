"""Listening: the socket, and the loop that answers.

Owns: the address, and what happens while somebody else has it. Invariant: an address that is taken is said plainly,
and tried again; nothing ends because of
it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading

import uvicorn

from workerpool import logs
from workerpool.api.face import Face
from workerpool.api.http.app import application
from workerpool.core.briefs import ApiBrief

log = logs.get("api")
#: Seconds between tries to get an address that is taken.
AGAIN = 5.0
#: Seconds that answers under way may take at the end.
LAST = 2


class Server:
    """Answers until it is told to stop; safe to be stopped from another thread."""

    def __init__(self, brief: ApiBrief) -> None:
        self._brief = brief
        self._stopped = threading.Event()
        self._face = Face(brief)
        self._uvicorn: uvicorn.Server | None = None

    def run(self) -> None:
        """Listen and answer until `stop`."""
        listening = self._listen()
        if listening is None:
            return
        config = uvicorn.Config(
            application(self._face),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=LAST,
            timeout_keep_alive=30,
            lifespan="on",
        )
        self._uvicorn = _Uvicorn(config)
        host, port = listening.getsockname()[:2]
        log.info("api.listening", host=host, port=port)
        if self._stopped.is_set():
            self._uvicorn.should_exit = True
        asyncio.run(self._uvicorn.serve([listening]))
        log.info("api.stopped")

    def stop(self) -> None:
        """Answer no more; streams are ended."""
        self._stopped.set()
        self._face.watch.stop()
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    def _listen(self) -> socket.socket | None:
        """Return the listening socket; None: told to stop before there was one."""
        told = ""
        while not self._stopped.is_set():
            try:
                return bind(self._brief.host, self._brief.port)
            except OSError as error:
                why = (
                    "is taken by another program"
                    if error.errno == errno.EADDRINUSE
                    else f"cannot be had: {error.strerror}"
                )
                if why != told:
                    told = why
                    hint = "the pool works without it; WORKERPOOL_HTTP names another address, or off"
                    log.error("api.unbound", host=self._brief.host, port=self._brief.port, why=why, hint=hint)
            self._stopped.wait(AGAIN)
        return None


class _Uvicorn(uvicorn.Server):
    """A server whose process knows its own signals."""

    def install_signal_handlers(self) -> None:
        """Leave signals alone."""

    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leave signals alone."""
        from contextlib import nullcontext

        return nullcontext()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address. Raises OSError."""
    (family, kind, proto, _, address), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listening = socket.socket(family, kind, proto)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
