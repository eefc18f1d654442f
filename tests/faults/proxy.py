"""A network that is slow, that hangs, or that breaks: a TCP proxy in front of PostgreSQL, on a thread of its own.

What goes through it is delivered in order, each piece so many seconds after it came. It can stop delivering in one
direction or both, which its ends cannot tell from silence, and it can cut what is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal, Self

Direction = Literal["requests", "answers"]
PIECE = 65536


class Proxy:
    """Listens on a port of 127.0.0.1 and passes on to port 5432 of *address*."""

    def __init__(self, address: str) -> None:
        self._target = address
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._ways: set[asyncio.Task[None]] = set()
        self._flowing: dict[Direction, asyncio.Event] = {}
        self._delay = 0.0
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def delay(self, seconds: float) -> None:
        """Deliver so many seconds late from now on, in each direction."""
        self._delay = seconds

    def freeze(self, *directions: Direction) -> None:
        """Deliver nothing in these directions until ``thaw``; what comes meanwhile is kept."""
        for each in directions:
            self._loop.call_soon_threadsafe(self._flowing[each].clear)

    def thaw(self) -> None:
        """Deliver again, what was kept first."""
        for each in self._flowing.values():
            self._loop.call_soon_threadsafe(each.set)

    def cut(self) -> None:
        """Break everything that is open; what is under way is lost. New connections are let through."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for each in list(self._open):
            each.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _listen(self) -> None:
        for direction in ("requests", "answers"):
            self._flowing[direction] = asyncio.Event()  # type: ignore[index]
            self._flowing[direction].set()  # type: ignore[index]
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        self._server.close()
        self._cut()
        for each in self._ways:
            each.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._target, 5432)
        except OSError:
            writer.transport.abort()
            return
        for from_here, to_there, direction in (
            (reader, far_writer, "requests"),
            (far_reader, writer, "answers"),
        ):
            self._open.add(to_there)
            way = self._loop.create_task(self._carry(from_here, to_there, direction))  # type: ignore[arg-type]
            self._ways.add(way)
            way.add_done_callback(self._ways.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        deliver = self._loop.create_task(self._deliver(pieces, writer, direction))
        try:
            with contextlib.suppress(OSError):
                while piece := await reader.read(PIECE):
                    await pieces.put((self._loop.time() + self._delay, piece))
            await pieces.put((self._loop.time() + self._delay, b""))
            await deliver
        finally:
            deliver.cancel()
            writer.transport.abort() if writer.is_closing() else writer.close()
            self._open.discard(writer)

    async def _deliver(
        self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(due - self._loop.time())
            await self._flowing[direction].wait()
            if not piece:
                return
            try:
                writer.write(piece)
                await writer.drain()
            except OSError:
                return
