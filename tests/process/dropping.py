"""A proxy that passes everything on, and loses one answer: the server did what it was asked, and nobody hears of it."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.process.daemon import Daemon


class Dropping:
    """Loses the first answer, after the server has given it, to a request whose path ends so and that did something."""

    def __init__(self, daemon: Daemon, end: str) -> None:
        self.dropped = 0
        server, found = str(daemon.settings["http"]), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                onward = http.client.HTTPConnection(server, timeout=30)
                try:
                    headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                    onward.request("POST", self.path, body, headers)
                    answer = onward.getresponse()
                    text = answer.read()
                finally:
                    onward.close()
                if self.path.endswith(end) and not found.dropped and b'"job":null' not in text:
                    found.dropped += 1
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name in ("Content-Type", "Retry-After"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Dropping:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
