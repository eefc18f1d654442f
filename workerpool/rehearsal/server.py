"""The server: one thread for each connection, on loopback.

Owns: sockets and threads. Does not own: what is said (``script``), nor its form (``wire``). Invariant: ``stop`` ends
every thread within a moment, also one that delays an answer.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from workerpool.rehearsal import wire
from workerpool.rehearsal.script import Asked, Reply, Script

#: Bytes of a request.
MOST = 16 << 20
PATH = "/v1/chat/completions"


class NotLoopback(ValueError):
    """The server was to listen where others can reach it."""

    def __init__(self, host: str) -> None:
        super().__init__(f"a scripted model listens on loopback only, not on {host!r}")


class ModelServer:
    """A scripted model at ``url``; *script* chooses the reply to each request, and ``asked`` has all of them."""

    def __init__(self, script: Script, host: str = "127.0.0.1", port: int = 0) -> None:
        """Not listening yet. Raises NotLoopback."""
        if not ipaddress.ip_address(host).is_loopback:
            raise NotLoopback(host)
        self._script, self._address = script, (host, port)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        """Return the base URL; only while it listens."""
        assert self._server is not None, "it does not listen"
        return f"http://{self._address[0]}:{self._server.server_port}/v1"

    def start(self) -> ModelServer:
        """Listen. Raises OSError where the port is taken."""
        self._over.clear()
        self._server = _Server(self._address, _Connection)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="rehearsal", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening, and break every connection."""
        server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        self._over.set()
        server.shutdown()
        server.break_off()
        server.server_close()
        self._thread.join()

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def take(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[Asked, Reply]:
        """Note a request and return it with its reply."""
        with self._lock:
            asked = Asked(body, len(self.asked) + 1, headers)
            self.asked.append(asked)
        return asked, self._script(asked)

    def passes(self, seconds: float) -> bool:
        """Let *seconds* pass; False where the server stops meanwhile."""
        return not self._over.wait(seconds) if seconds > 0 else not self._over.is_set()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    model: ModelServer

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def break_off(self) -> None:
        """Break every connection, so that no thread waits for its client."""
        for each in tuple(self._open):
            _break(each)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is no news."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer what models there are."""
        if self.path.rstrip("/") == "/v1/models":
            self._document(200, wire.models(["scripted"]))
        else:
            self._refuse(404, f"there is no {self.path}; there is {PATH}")

    def do_POST(self) -> None:
        """Answer a request as the script says."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST:
            self.close_connection = True
            self._refuse(413, f"a request has a Content-Length of at most {MOST}")
            return
        body = self.rfile.read(int(length))
        if self.path.rstrip("/") != PATH:
            self._refuse(404, f"there is no {self.path}; there is {PATH}")
            return
        try:
            document = json.loads(body)
            assert isinstance(document, dict)
        except (ValueError, AssertionError):
            self._refuse(400, "the body is no JSON object")
            return
        asked, reply = self.server.model.take(document, {name.lower(): value for name, value in self.headers.items()})
        if self.server.model.passes(reply.delay):
            self._answer(asked, reply)
        else:
            self.close_connection = True

    def _answer(self, asked: Asked, reply: Reply) -> None:
        if reply.raw is not None:
            self._raw(reply)
        elif reply.status != 200:
            self._document(reply.status, wire.error(reply), dict(reply.headers))
        elif asked.stream:
            self._stream(asked, reply)
        elif reply.cut_after is not None:
            _break(self.connection)
            self.close_connection = True
        else:
            self._document(200, wire.whole(asked, reply), dict(reply.headers))

    def _refuse(self, status: int, message: str) -> None:
        self._document(status, wire.error(Reply(status=status, error={"message": message})))

    def _document(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _begin(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Type": "text/event-stream", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _stream(self, asked: Asked, reply: Reply) -> None:
        self._begin(reply)
        self._send(wire.begin(asked))
        for place, event in enumerate(wire.pieces(asked, reply)):
            broken = reply.cut_after is not None and place >= reply.cut_after
            if broken or not self.server.model.passes(reply.chunk_delay if place else 0):
                _break(self.connection)
                self.close_connection = True
                return
            self._send(event)
        self._send(wire.end(asked, reply))
        self._send("")

    def _raw(self, reply: Reply) -> None:
        self._begin(reply)
        for line in reply.raw or ():
            if not self.server.model.passes(reply.chunk_delay):
                self.close_connection = True
                return
            self._send(line + "\n")
        self._send("")

    def _send(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _break(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is broken already
