"""Bodies as they are read everywhere: JSON without the licence that Python's reader takes.

Owns: that a body is read once, and in one way. Does not own: the rules (``strict_json``).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from workerpool.api import strict_json


class StrictRequest(Request):
    """A request whose JSON is strict."""

    async def json(self) -> Any:
        """Return the body's value; a body that is none is answered with 400."""
        try:
            return strict_json.read(await self.body())
        except strict_json.BadJson as error:
            raise HTTPException(400, str(error)) from None


class StrictRoute(APIRoute):
    """A route whose requests are strict."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, over a strict request."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict
