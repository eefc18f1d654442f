"""The service: pages at addresses that never change, and a form to have them edited.

Owns: what people see and press. Does not own: how an edit is performed (`page_edit_handlers`, in the pool's workers),
nor the tables (`page_store`), nor how things look (`page_views`).

Invariant: an edit and its revision are committed together, in the service's own transaction.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import page_store
import page_views
import uvicorn
from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from page_limits import Limits, Refused
from page_setup import HERE, set_up
from page_store import Row, Wish
from psycopg_pool import ConnectionPool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from workerpool import Client, config
from workerpool.client import address

COOKIE = "person"
USUAL_ADDRESS = "127.0.0.1:8080"
EXIT_CONFIG = 78


@dataclass(frozen=True, slots=True)
class Desk:
    """What the service works with: the database, the pool's client, the limits."""

    url: str
    connections: ConnectionPool[page_store.Connection]
    client: Client
    limits: Limits

    @contextmanager
    def transaction(self) -> Iterator[page_store.Connection]:
        """Lend a connection; what is done with it is committed at the end, or none of it."""
        with self.connections.connection() as connection:
            yield connection

    def enqueued_by_client(self, connection: page_store.Connection) -> page_store.Enqueue:
        """Return the way to enqueue in the transaction of *connection*."""

        def enqueue(item: str, handler: str, payload: dict[str, object]) -> int:
            return self.client.enqueue(item, payload, handler=handler, connection=connection).id

        return enqueue


@asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    """Find the pool's database, make the service's tables, and keep both at hand while the service runs."""
    settings = config.load()
    with address(settings) as url, Client(url, settings.db_schema) as client, ConnectionPool(url, min_size=1) as pool:
        with pool.connection() as connection:
            set_up(connection)
        app.state.desk = Desk(url, pool, client, Limits.of(os.environ))
        yield


app = FastAPI(title="Page edits", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", StaticFiles(directory=HERE / "static"))
app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])


def of_same_site(request: Request) -> Desk:
    """Return the desk to a request that may have it."""
    page_views.check_origin(request)
    desk: Desk = request.app.state.desk
    return desk


Given = Annotated[Desk, Depends(of_same_site)]


def frame(desk: Desk, request: Request, connection: page_store.Connection) -> dict[str, Any]:
    """Return what every page of the service shows: who is there, and who is looking. Nobody logs in: it is a demo."""
    people = page_store.people(connection)
    looking = next((each for each in people if each["name"] == request.cookies.get(COOKIE)), people[0])
    return {"people": people, "me": looking, "limits": desk.limits, "here": request.url.path}


@app.exception_handler(Refused)
def refused(request: Request, error: Refused) -> Response:
    """Say what was refused, and why."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    with request.app.state.desk.transaction() as connection:
        common = frame(request.app.state.desk, request, connection)
    return page_views.page("refused.html", error.status, headers, refusal=error, **common)


# -- the pages of people -----------------------------------------------------------------------------------------------


@app.get("/p/{slug}")
def hosted(request: Request, slug: str, desk: Given) -> Response:
    """Show a page: this is its address, whatever becomes of its content."""
    return hosted_version(request, slug, None, desk)


@app.get("/p/{slug}/{number}")
def hosted_version(request: Request, slug: str, number: int | None, desk: Given) -> Response:
    """Show a page as it was in one version."""
    with desk.transaction() as connection:
        version = page_store.html_of(connection, slug, number)
    if version is None:
        raise Refused(404, f"There is no page {slug!r}, or it has no such version.")
    return page_views.hosted(request, version)


# -- looking -----------------------------------------------------------------------------------------------------------


@app.get("/")
def pages(request: Request, desk: Given) -> Response:
    """List the pages."""
    with desk.transaction() as connection:
        return page_views.page("pages.html", pages=page_store.pages(connection), **frame(desk, request, connection))


@app.get("/pages/{slug}")
def page(request: Request, slug: str, desk: Given) -> Response:
    """Show a page with its edits and the form."""
    return page_of(request, slug, desk)


def page_of(request: Request, slug: str, desk: Desk, text: str = "", refusal: Refused | None = None) -> Response:
    """Return the page of a page, with the *text* of a request that was refused."""
    with desk.transaction() as connection:
        values = whole(desk, request, connection, slug)
    status = refusal.status if refusal else 200
    headers = {"Retry-After": str(refusal.retry_after)} if refusal and refusal.retry_after else {}
    return page_views.page("page.html", status, headers, text=text, refusal=refusal, **values)


def whole(desk: Desk, request: Request, connection: page_store.Connection, slug: str) -> dict[str, Any]:
    """Return what is to be shown of a page. Raises Refused (404)."""
    found = page_store.page(connection, slug)
    if found is None:
        raise Refused(404, f"There is no page {slug!r}.")
    edits = page_store.edits(connection, slug)
    common = frame(desk, request, connection)
    ages, _ = page_store.counted(connection, slug, common["me"]["name"])
    return {
        "page": found,
        "busy": [each for each in reversed(edits) if each["ended_at"] is None],
        "ended": [each for each in edits if each["ended_at"] is not None],
        "left": max(0, desk.limits.edits_per_day - len(ages)),
        **common,
    }


@app.get("/pages/{slug}/live")
def live(request: Request, slug: str, desk: Given) -> Response:
    """Return the part of a page's page that changes, or 304 when it has not."""
    with desk.transaction() as connection:
        answer = page_views.page("edits.html", **whole(desk, request, connection, slug))
    tag = f'"{hashlib.sha256(bytes(answer.body)).hexdigest()[:32]}"'
    answer.headers["ETag"] = tag
    return Response(status_code=304) if request.headers.get("if-none-match") == tag else answer


@app.get("/pages/{slug}/versions/{number}")
def version(request: Request, slug: str, number: int, desk: Given) -> Response:
    """Show one version, and what it changed."""
    with desk.transaction() as connection:
        found = page_store.html_of(connection, slug, number)
        before = page_store.html_of(connection, slug, number - 1) if number else None
        values = {"page": page_store.page(connection, slug), **frame(desk, request, connection)}
    if found is None:
        raise Refused(404, f"There is no page {slug!r}, or it has no version {number}.")
    changes = list(page_views.changes(before["html"], found["html"])) if before else []
    return page_views.page("version.html", version=found, changes=changes, **values)


@app.get("/inbox")
def inbox(request: Request, desk: Given) -> Response:
    """Show who is looking what they were told."""
    with desk.transaction() as connection:
        common = frame(desk, request, connection)
        notices = page_store.inbox(connection, common["me"]["name"])
        common["me"]["unread"] = 0
    return page_views.page("inbox.html", notices=notices, **common)


# -- pressing ----------------------------------------------------------------------------------------------------------


@app.post("/pages/{slug}/edits")
def ask(request: Request, slug: str, desk: Given, wanted: Annotated[str, Form(alias="request")] = "") -> Response:
    """Accept a request for an edit, or show the page again with why not."""
    try:
        with desk.transaction() as connection:
            person = frame(desk, request, connection)["me"]["name"]
            enqueue = desk.enqueued_by_client(connection)
            page_store.take(connection, Wish(slug, person, wanted), desk.limits, enqueue)
    except Refused as refusal:
        if refusal.status == 404:
            raise
        return page_of(request, slug, desk, wanted, refusal)
    return to(f"/pages/{slug}#edits")


@app.post("/pages/{slug}/revert")
def revert(request: Request, slug: str, number: Annotated[int, Form()], desk: Given) -> Response:
    """Have a page taken back to one of its versions; behind the edits that wait already."""
    with desk.transaction() as connection:
        person = frame(desk, request, connection)["me"]["name"]
        enqueue = desk.enqueued_by_client(connection)
        page_store.take(connection, Wish(slug, person, to=number), desk.limits, enqueue)
    return to(f"/pages/{slug}#edits")


@app.post("/edits/{number}/cancel")
def cancel(request: Request, number: int, desk: Given) -> Response:
    """Cancel an edit: what waits ends at once, what runs is asked to stop. One that is done by then has won."""
    with desk.transaction() as connection:
        me = frame(desk, request, connection)["me"]["name"]
        edit = page_store.edit(connection, number)
        page = page_store.page(connection, edit["slug"]) if edit else None
    if edit is None or page is None:
        raise Refused(404, f"There is no edit {number}.")
    if not may_cancel(edit, page, me):
        raise Refused(403, "An edit is cancelled by who asked for it, or by the owner of the page.")
    with Client(desk.url) as client:  # (of its own: a client's connection is for one thread)
        client.cancel(edit["revision"], reason=f"{me}, on the page of {page['slug']}")
    return to(f"/pages/{page['slug']}#edits")


def may_cancel(edit: Row, page: Row, me: str) -> bool:
    """Tell whether somebody may cancel an edit."""
    return me in (edit["requester"], page["owner"])


@app.post("/who")
def who(person: Annotated[str, Form()], back: Annotated[str, Form()], desk: Given) -> Response:
    """Be somebody else. There is no log-in and no secret: it is a demo."""
    with desk.transaction() as connection:
        if person not in [each["name"] for each in page_store.people(connection)]:
            raise Refused(422, f"Nobody is called {person!r} here.")
    answer = to(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/")
    answer.set_cookie(COOKIE, person, httponly=True, samesite="strict")
    return answer


def to(path: str) -> Response:
    """Return an answer that leads a browser there."""
    return RedirectResponse(path, 303)


def main() -> None:
    """Serve until a signal ends it."""
    try:
        host, port = where(os.environ.get("PAGE_EDITS_HTTP") or USUAL_ADDRESS)
        Limits.of(os.environ)
    except ValueError as error:
        print(f"page_service: {error}", file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    print(f"the pages are at http://{host}:{port}/", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=3)


def where(given: str) -> tuple[str, int]:
    """Return host and port of an address. Raises ValueError: nobody logs in here, so nobody else may reach it."""
    host, _, port = given.rpartition(":")
    try:
        if ipaddress.ip_address(host.strip("[]")).is_loopback and 0 < int(port) < 65_536:
            return host.strip("[]"), int(port)
    except ValueError:
        pass
    allowed = f"an address of this machine and a port, such as {USUAL_ADDRESS}; nobody logs in here"
    raise ValueError(f"PAGE_EDITS_HTTP={given!r}: allowed is {allowed}")


if __name__ == "__main__":
    main()
