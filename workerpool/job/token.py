"""The cancellation token: one flag that many may set and everybody may wait on.

Invariant: the first reason stays. Cancellation is cooperative: the token never ends anything by itself.
"""

from __future__ import annotations

import threading

from workerpool.core.errors import Cancelled


class CancellationToken:
    """Asked to stop, or not."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._reason: str | None = None

    @property
    def cancelled(self) -> bool:
        """Tell whether somebody asked to stop."""
        return self._event.is_set()

    @property
    def reason(self) -> str | None:
        """Return why, or None while nobody asked."""
        return self._reason

    def cancel(self, reason: str) -> bool:
        """Ask to stop; False where somebody did before (the first reason stays)."""
        with self._lock:
            if self._event.is_set():
                return False
            self._reason = reason
            self._event.set()
            return True

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if somebody asked to stop."""
        if self._event.is_set():
            raise Cancelled(self._reason or "asked to stop")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to *timeout* seconds until somebody asks to stop; returns whether somebody did."""
        return self._event.wait(timeout)
