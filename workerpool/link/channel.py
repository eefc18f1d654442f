"""JSON messages over a socket pair that a child inherits from its manager.

Invariant: messages arrive whole and in order or, when the other end is gone, not at all; one that cannot be sent now
is kept until it can be. The end of the channel is the end of the other process; it is seen as EOF, never as silence.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections import deque
from typing import Any

#: The environment variable that holds the number of the inherited descriptor.
VARIABLE = "WORKERPOOL_CHANNEL"
LARGEST = 180_000
#: Messages that may wait for an end that does not read; it is ended by its manager long before.
MOST_WAITING = 10_000
Message = dict[str, Any]


class Channel:
    """One end of a channel."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._unsent: deque[bytes] = deque()
        self._unheard: list[Message] = []
        self.closed = False

    @classmethod
    def inherited(cls) -> Channel:
        """Return the child's end, from the environment.

        The variable is taken out, and the descriptor closed at exec, so that grandchildren get neither.
        """
        descriptor = int(os.environ.pop(VARIABLE))
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """Return the descriptor, to wait on."""
        return self._socket.fileno()

    def send(self, kind: str, *, keep: bool = True, **fields: Any) -> bool:
        """Send a message; one that cannot go now waits for ``flush``, unless it need not be kept.

        False where it is lost: the other end is gone, or reads nothing at all.
        """
        data = json.dumps({"kind": kind, **fields}, ensure_ascii=False).encode("utf-8", "backslashreplace")
        if len(data) > LARGEST:
            raise ValueError(f"a message {kind!r} of {len(data)} bytes: at most {LARGEST} go through a channel")
        if self.closed or (self._unsent and not keep) or len(self._unsent) >= MOST_WAITING:
            return False
        self._unsent.append(data)
        if not self.flush() and not keep:
            self._unsent.pop()
            return False
        return not self.closed

    def flush(self) -> bool:
        """Send what waits; returns whether nothing waits any more."""
        while self._unsent:
            try:
                self._socket.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:
                self._unsent.clear()
                return False
            self._unsent.popleft()
        return True

    def receive(self) -> list[Message]:
        """Return the messages that are there; ``closed`` tells afterwards whether the other end is gone."""
        messages, self._unheard = self._unheard, []
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

    def brief(self) -> Message | None:
        """Wait for the first message; what comes after it is left for ``receive``. None: the other end is gone."""
        while not self.closed:
            select.select([self._socket], [], [])
            messages = self.receive()
            if messages:
                self._unheard = messages[1:]
                messages[0].pop("kind")
                return messages[0]
        return None

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pair() -> tuple[Channel, socket.socket]:
    """Return the manager's end, and the socket that the child is to inherit."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return Channel(ours), theirs
