"""What systemd (or whoever set NOTIFY_SOCKET) is told. Only the manager speaks; children never see the variable.

Source of the protocol: sd_notify(3). Invariant: telling never blocks and never fails the manager.
"""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Speaks sd_notify; silent where nobody listens."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        watchdog = os.environ.pop("WATCHDOG_USEC", "")
        os.environ.pop("WATCHDOG_PID", None)
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self.interval = int(watchdog) / 4_000_000 if watchdog.isdigit() and int(watchdog) else None
        self._last = 0.0

    def say(self, **fields: str) -> None:
        """Send fields such as READY="1"."""
        if self._socket is None:
            return
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:
            return

    def ping(self, now: float) -> None:
        """Tell the watchdog that the main loop runs; to be called from that loop itself."""
        if self.interval is not None and now - self._last >= self.interval:
            self._last = now
            self.say(WATCHDOG="1")

    def reloading(self) -> None:
        """Say that the configuration is being read again."""
        self.say(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
