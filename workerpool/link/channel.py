"""JSON messages over a socket pair that a child inherits from its manager.

Invariant: the end of the channel is the end of the other process; it is seen as EOF, never as silence.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

#: The environment variable that holds the number of the inherited descriptor.
VARIABLE = "WORKERPOOL_CHANNEL"
LARGEST = 180_000
Message = dict[str, Any]


class Channel:
    """One end of a channel; messages arrive whole and in order."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self.closed = False

    @classmethod
    def inherited(cls) -> Channel:
        """Return the child's end, from the environment.

        The variable is taken out, so that grandchildren do not see it.
        """
        return cls(socket.socket(fileno=int(os.environ.pop(VARIABLE))))

    def fileno(self) -> int:
        """Return the descriptor, to wait on."""
        return self._socket.fileno()

    def send(self, kind: str, **fields: Any) -> bool:
        """Send a message.

        False where the other end is gone or does not read (the caller keeps what must not be lost).
        """
        data = json.dumps({"kind": kind, **fields}).encode()
        if len(data) > LARGEST:
            raise ValueError(f"a message {kind!r} of {len(data)} bytes: at most {LARGEST} go through a channel")
        try:
            self._socket.send(data)
        except BlockingIOError:
            return False
        except OSError:
            return False
        return True

    def receive(self) -> list[Message]:
        """Return the messages that are there; ``closed`` tells afterwards whether the other end is gone."""
        messages: list[Message] = []
        while True:
            try:
                data = self._socket.recv(LARGEST + 1)
            except BlockingIOError:
                return messages
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return messages
            messages.append(json.loads(data))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pair() -> tuple[Channel, socket.socket]:
    """Return the manager's end, and the socket that the child is to inherit."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return Channel(ours), theirs
