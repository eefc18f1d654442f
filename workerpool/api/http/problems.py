"""Errors as RFC 9457 tells them: `application/problem+json` with type, title, status and detail.

Owns: the status of each kind of refusal. Invariant: no answer holds a traceback, a statement, an address or a secret;
what went wrong unexpectedly has an
id, under which the log has the rest.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from workerpool import logs
from workerpool.api.service.refusals import Kind, Refusal
from workerpool.api.service.troubles import Trouble, describe

log = logs.get("api")
MEDIA_TYPE = "application/problem+json"
STATUS_OF: dict[Kind, int] = {"missing": 404, "refused": 409, "changed": 409, "forbidden": 403, "invalid": 422}
TITLES = {
    400: "The request cannot be read",
    401: "Who are you?",
    403: "Not allowed",
    404: "Not there",
    405: "Not with this method",
    409: "Not in this state",
    413: "Too large",
    415: "Not in this form",
    422: "Not valid",
    429: "Too many requests",
    500: "Something went wrong",
    503: "The database is away",
}
#: What any request may be answered, before it is understood.
BY_THE_GATE = (400, 401, 403, 413, 415, 429, 500, 503)
#: Seconds after which a client may try again what failed because the database was away.
AGAIN = "2"


class Problem(BaseModel):
    """RFC 9457; *errors* says of each part of a request what is wrong with it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


def problem(
    status: int, detail: str, name: str = "", headers: dict[str, str] | None = None, **facts: Any
) -> JSONResponse:
    """Return the answer for an error; *facts* are further members of the document."""
    title = TITLES.get(status, "Refused")
    kind = name or title.lower().replace(" ", "-").strip("?")
    body = {"type": f"urn:workerpool:problem:{kind}", "title": title, "status": status, "detail": detail, **facts}
    return JSONResponse(body, status, media_type=MEDIA_TYPE, headers=headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems of a path for its OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": TITLES[status], "model": Problem, "content": content} for status in statuses}


def add_handlers(app: FastAPI) -> None:
    """Let *app* answer every error with a problem."""

    @app.exception_handler(Refusal)
    def refused(_request: Request, error: Refusal) -> JSONResponse:
        return problem(STATUS_OF[error.kind], error.detail, error.name, None, **error.facts)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(_methods(app, request.scope["path"])))
        detail = str(error.detail)
        if error.status_code == 404 and detail == "Not Found":
            hint = "; a slash in an item's key is written %2F" if "/items/" in request.scope["path"] else ""
            detail = f"there is no such path{hint}"
        return problem(error.status_code, detail, headers=headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        # (what was sent is not sent back: it may be a secret)
        found = [{"where": ".".join(map(str, each["loc"])), "problem": each["msg"]} for each in error.errors()]
        told = "; ".join(f"{each['where']}: {each['problem']}" for each in found[:5])
        return problem(422, told or "the request is not valid", "not-valid", errors=found)


def _methods(app: FastAPI, path: str) -> set[str]:
    """Return the methods that a path has, whichever of its routes was asked first."""
    found: dict[int, set[str]] = {0: {"GET"}}
    for template, operations in app.openapi()["paths"].items():
        parts = re.split(r"\{(\w+)\}", template)
        pattern = "".join(re.escape(p) if n % 2 == 0 else ".+" if p == "key" else "[^/]+" for n, p in enumerate(parts))
        if re.fullmatch(pattern, path):
            plain = len("".join(parts[::2]))
            found.setdefault(plain, set()).update(method.upper() for method in operations)
    return found[max(found)]  # of the template that says most


def of_error(error: Exception) -> JSONResponse:
    """Return the answer for an error of the store, or for one that nobody expected."""
    if isinstance(error, Refusal):
        return problem(STATUS_OF[error.kind], error.detail, error.name, None, **error.facts)
    match describe(error):
        case Trouble("invalid", sentence):
            return problem(422, sentence, "not-valid")
        case Trouble("refused", sentence):
            return problem(422, sentence, "refused-by-the-database")
        case Trouble(kind, sentence):
            return problem(503, sentence, kind, headers={"Retry-After": AGAIN})
    known = uuid.uuid4().hex
    log.error("request.failed", id=known, error=repr(error), exc_info=error)
    return problem(500, f"an unexpected error; the log has it under {known}", id=known)
