"""``/healthz``, ``/readyz``, ``/health`` and ``/metrics``: whether it works, for those who watch machines.

``/healthz`` asks nobody: it is about this process. ``/readyz`` asks for the database, the schema and living workers.
"""

from __future__ import annotations

import time
from typing import Any

import anyio
from fastapi import APIRouter, Response

from workerpool.api.face import Face
from workerpool.api.http.guard import Stands, Viewer
from workerpool.api.http.models.jobs import Health
from workerpool.api.http.problems import documented
from workerpool.api.metrics import CONTENT_TYPE
from workerpool.api.service import pool
from workerpool.api.service.troubles import describe

router = APIRouter(tags=["health"])
#: Seconds that the loop may be late.
LATE = 1.0
DOWN: dict[int | str, dict[str, Any]] = {503: {"description": "It is not ready.", "model": Health}}


@router.get("/healthz", responses=DOWN)
async def healthz(response: Response) -> Health:
    """Tell whether this process answers, and how late its loop is."""
    began = time.monotonic()
    await anyio.sleep(0)
    late = time.monotonic() - began
    if late > LATE:
        response.status_code = 503
    return Health(status="ok" if late <= LATE else "degraded", checks={"loop": f"{late * 1000:.1f} ms"})


@router.get("/readyz", responses=DOWN)
def readyz(response: Response, face: Stands) -> Health:
    """Tell whether revisions are performed: database, schema, workers."""
    return _health(response, face)


@router.get("/health", responses=DOWN)
def health(response: Response, face: Stands) -> Health:
    """Tell the same as `/readyz`."""
    return _health(response, face)


def _health(response: Response, face: Face) -> Health:
    checks: dict[str, str] = {}
    try:
        with face.session() as session:
            checks["database"] = "ok"
            session.require()
            checks["schema"] = "ok"
            workers = pool.workers(session, face.lease)
            alive = sum(each["state"] not in ("silent", "starting", "stopping") for each in workers)
            checks["workers"] = "ok" if alive else "none is alive"
            checks["pause"] = "paused" if pool.system(session)["paused"] else "ok"
    except Exception as error:
        trouble = describe(error)
        if trouble is None:
            raise
        checks["schema" if "database" in checks else "database"] = trouble.sentence
    is_down = any(checks.get(name) != "ok" for name in ("database", "schema", "workers"))
    if is_down:
        response.status_code = 503
    return Health(status="down" if is_down else "ok", checks=checks)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "Prometheus' text form."},
        **documented(),
    },
)
def metrics(face: Stands, _who: Viewer) -> Response:
    """Return the figures of the pool, for Prometheus."""
    with face.session() as session:
        return Response(face.metrics.text(session), media_type=CONTENT_TYPE)
