"""The cancellation token: one flag that many may set and everybody may wait on.

Owns: the flag, who is told of it, and tokens below it. Does not own: ending anything; cancellation is cooperative.
Invariant: the first reason stays, and each callback runs exactly once. What is not used costs nothing: a token is made
for each revision.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable

from workerpool import logs
from workerpool.core.errors import Cancelled

log = logs.get("job")
Callback = Callable[[str], object]


class CancellationToken:
    """Asked to stop, or not. Safe from any thread."""

    __slots__ = ("__weakref__", "_callbacks", "_cancelled", "_children", "_event", "_lock", "_reason")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._reason: str | None = None
        self._event: threading.Event | None = None
        self._callbacks: dict[object, Callback] | None = None
        self._children: weakref.WeakSet[CancellationToken] | None = None

    @property
    def cancelled(self) -> bool:
        """Tell whether somebody asked to stop."""
        return self._cancelled

    @property
    def reason(self) -> str | None:
        """Return why, or None while nobody asked."""
        return self._reason

    def cancel(self, reason: str) -> bool:
        """Ask to stop; False where somebody did before (the first reason stays).

        Callbacks run on this thread, before it returns; one that raises is logged and hurts no other.
        """
        with self._lock:
            if self._cancelled:
                return False
            self._reason, self._cancelled = reason, True
            callbacks, self._callbacks = self._callbacks, None
            children, event = list(self._children or ()), self._event
        if event is not None:
            event.set()
        for child in children:
            child.cancel(reason)
        for callback in (callbacks or {}).values():
            _call(callback, reason)
        return True

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if somebody asked to stop."""
        if self._cancelled:
            raise Cancelled(self._reason or "asked to stop")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to *timeout* seconds until somebody asks to stop; returns whether somebody did."""
        with self._lock:
            if self._cancelled:
                return True
            if self._event is None:
                self._event = threading.Event()
            event = self._event
        return event.wait(timeout)

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Wait, in an event loop, up to *timeout* seconds until somebody asks to stop; returns whether somebody did."""
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[None] = loop.create_future()
        remove = self.on_cancel(lambda _: loop.call_soon_threadsafe(_settle, asked))
        try:
            await asyncio.wait([asked], timeout=timeout)
        finally:
            remove()
        return self._cancelled

    def on_cancel(self, callback: Callback) -> Callable[[], None]:
        """Run *callback* with the reason when somebody asks to stop; at once if somebody did.

        Returns a function that takes the callback back.
        """
        key = object()
        with self._lock:
            if not self._cancelled:
                if self._callbacks is None:
                    self._callbacks = {}
                self._callbacks[key] = callback
                return lambda: self._take_back(key)
        _call(callback, self._reason or "")
        return lambda: None

    def _take_back(self, key: object) -> None:
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.pop(key, None)

    def child(self) -> CancellationToken:
        """Return a token that is cancelled with this one, and never the reverse. It is not kept alive by this one."""
        child = CancellationToken()
        with self._lock:
            if not self._cancelled:
                if self._children is None:
                    self._children = weakref.WeakSet()
                self._children.add(child)
                return child
        child.cancel(self._reason or "")
        return child


def _settle(asked: asyncio.Future[None]) -> None:
    if not asked.done():
        asked.set_result(None)


def _call(callback: Callback, reason: str) -> None:
    try:
        callback(reason)
    except Exception as error:
        log.error("callback.failed", what="on_cancel", error=repr(error), exc_info=error)
