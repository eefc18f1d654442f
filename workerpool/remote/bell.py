"""What wakes the main thread: a pipe, so that a signal's handler and any thread may ring without taking a lock."""

from __future__ import annotations

import contextlib
import os
import select


class Bell:
    """Rung by anybody, heard by one."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)

    def ring(self) -> None:
        """Wake whoever waits, or will wait next."""
        with contextlib.suppress(BlockingIOError):  # it has been rung often enough
            os.write(self._writing, b"!")

    def wait(self, seconds: float) -> None:
        """Wait until it is rung, at most so long."""
        if select.select([self._reading], [], [], max(0.0, seconds))[0]:
            os.read(self._reading, 4096)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._reading)
        os.close(self._writing)
