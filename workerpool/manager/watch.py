"""The manager's one wait: for signals, messages, output and ends, on descriptors.

Invariant: a descriptor that was dropped is not heard again, also not from the same wait.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable


class Watch:
    """Descriptors, and what to do when one has something."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, descriptor: int | None, then: Callable[[], object]) -> None:
        """Call *then* whenever *descriptor* can be read; None is left out."""
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ, then)

    def drop(self, descriptor: int | None) -> None:
        """Forget *descriptor*, if it is known."""
        if descriptor is not None and descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def wait(self, seconds: float) -> None:
        """Wait until something is there, at most *seconds*, and do what belongs to it."""
        for key, _ in self._selector.select(seconds):
            # What was done for another descriptor may have dropped this one, and its number may be in use again.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
