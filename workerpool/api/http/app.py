"""The application: every path, behind the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from workerpool.api.dashboard import acts, pages
from workerpool.api.dashboard import agents as agent_pages
from workerpool.api.dashboard.view import HERE, Static
from workerpool.api.face import Face
from workerpool.api.http import agents, events, health, hooks, items, jobs, problems, revisions, system
from workerpool.api.http.gate import Gate
from workerpool.api.http.guard import Guard

if TYPE_CHECKING:
    from workerpool.api.tools.server import Mount

ABOUT = """
Ordered changes to items, performed by worker processes that may crash. Names are in camelCase; snake_case is
understood. Every error is a
problem document (RFC 9457).
"""


def application(face: Face) -> FastAPI:
    """Return the application that stands on *face*, which it opens and closes."""

    tools = _tools(face)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        face.open()
        async with tools.manager.run() if tools is not None else nullcontext():
            yield
        face.close()

    app = FastAPI(
        title="workerpool",
        version=version("workerpool"),
        description=ABOUT,
        license_info={"name": "MIT"},
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.state.face, guard = face, Guard(face)
    app.state.guard = guard
    problems.add_handlers(app)
    if tools is not None:
        app.router.routes.append(
            Route("/mcp", endpoint=tools, methods=["GET", "POST", "DELETE"], include_in_schema=False)
        )
    app.mount("/static", Static(directory=HERE / "static"), name="static")
    for room in (pages, acts, agent_pages, revisions, items, agents, jobs, system, hooks, events, health):
        app.include_router(room.router)
    app.add_middleware(Gate, face=face, guard=guard)
    app.openapi = lambda: _described(app, guard)  # type: ignore[method-assign]
    return app


def _tools(face: Face) -> Mount | None:
    """Return the tools for agents; None where their package is not installed."""
    if find_spec("mcp") is None:
        return None
    from workerpool.api.tools.server import Mount

    return Mount(face)


def _described(app: FastAPI, guard: Guard) -> dict[str, Any]:
    """Return the OpenAPI document, with what the gate may answer to any request."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            license_info=app.license_info,
            routes=app.routes,
        )
        answers = {str(status): told for status, told in problems.documented(*problems.BY_THE_GATE).items()}
        for told in answers.values():
            told.pop("model")
        for operations in found["paths"].values():
            for operation in operations.values():
                operation["responses"] = answers | operation["responses"]
                if guard.is_open and "security" in operation:
                    operation["security"].append({})
        app.openapi_schema = found
    return app.openapi_schema
