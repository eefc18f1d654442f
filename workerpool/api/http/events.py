"""``/api/events``: what happens, as server-sent events, while one watches.

Each part of what is watched is sent when it changed, as JSON: `pause`, `queue`, `workers`, `running`, `events`,
`ended`; and `log` and
`revision` of the one that was asked for. A stream that has nothing to say costs the database nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from workerpool.api.face import Face
from workerpool.api.http.guard import Stands, Viewer
from workerpool.api.http.problems import documented
from workerpool.api.service import revisions
from workerpool.api.service.troubles import describe

router = APIRouter(tags=["events"])
#: Seconds of silence after which a comment is sent, so that a connection that broke is found out.
QUIET = 15.0
#: Lines of a log in one event.
LINES = 500


@router.get(
    "/api/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."},
        **documented(422),
    },
)
async def events(
    face: Stands,
    _who: Viewer,
    revision: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Its state and its log too.")] = None,
) -> StreamingResponse:
    """Send what happens until the client leaves."""
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(face, revision), media_type="text/event-stream", headers=headers)


async def _stream(face: Face, revision: int | None) -> AsyncIterator[str]:
    sent, follower = 0, _Follower(face, revision) if revision is not None else None
    yield "retry: 1000\n\n"
    with face.watch.watching() as event:
        while not face.watch.stopping:
            event.clear()
            look = face.watch.look
            if look.number > sent:
                for part, number in look.changed.items():
                    if number > sent:
                        yield _event(part, look.parts[part], look.number)
                if look.error is not None:
                    yield _event("trouble", json.dumps({"detail": look.error}), look.number)
                sent = look.number
            if follower is not None:
                for name, data in await anyio.to_thread.run_sync(follower.look):
                    yield _event(name, data)
            try:
                await asyncio.wait_for(event.wait(), 0.5 if follower is not None else QUIET)
            except TimeoutError:
                if follower is None:
                    yield ": nothing new\n\n"


def _event(name: str, data: str, number: int | None = None) -> str:
    mark = f"id: {number}\n" if number is not None else ""
    return f"{mark}event: {name}\ndata: {data}\n\n"


class _Follower:
    """What is new of one revision."""

    def __init__(self, face: Face, revision: int) -> None:
        self._face, self._revision = face, revision
        self._after = 0
        self._state = ""

    def look(self) -> list[tuple[str, str]]:
        """Return the events since the last look."""
        told: list[tuple[str, str]] = []
        try:
            with self._face.session() as session:
                row = revisions.state(session, self._revision)
                lines = revisions.log(session, self._revision, self._after, LINES) if row is not None else []
        except Exception as error:
            if describe(error) is None:
                raise
            return []  # the database is away: the look for all says so
        state = json.dumps(row, default=str, ensure_ascii=False)
        if state != self._state:
            self._state = state
            told.append(("revision", state))
        if lines:
            self._after = lines[-1]["id"]
            told.append(("log", json.dumps(lines, default=str, ensure_ascii=False)))
        return told
