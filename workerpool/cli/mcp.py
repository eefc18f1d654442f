"""``workerpool mcp``: the tools for an agent that starts this program, over its standard input and output.

Invariant: standard output carries the protocol and nothing else; what is to be said goes to standard error.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import click

from workerpool.cli.errors import EXIT_CONFIG, Refused
from workerpool.cli.options import session, with_settings
from workerpool.cli.start import api_brief, lacking
from workerpool.config import Settings
from workerpool.config.forms import Address


@click.command()
@click.option("--read-only", is_flag=True, help="Only the tools that read.")
@with_settings
def mcp(settings: Settings, read_only: bool) -> None:
    """Offer the queue's verbs to an agent as tools, as this user; the agent starts this command and speaks to it."""
    missing = [*lacking(), *([] if find_spec("mcp") else ["mcp"])]
    if missing:
        hint = "pip install 'workerpool[mcp]' installs them"
        raise Refused(f"packages are missing: {', '.join(missing)}", EXIT_CONFIG, hint)
    import anyio
    from mcp.server.stdio import stdio_server

    from workerpool import logs
    from workerpool.api.face import Face
    from workerpool.api.http.guard import Subject
    from workerpool.api.tools.server import server
    from workerpool.client import address
    from workerpool.store.changing import actor

    logs.configure(settings.log_level, settings.log_format)
    with session(settings, "mcp"):
        pass  # the database is there, and as this program wants it
    subject = Subject(actor(), "viewer" if read_only else "operator")
    with address(settings) as url:
        face = Face(dataclasses.replace(api_brief(settings, Address("127.0.0.1", 1)), url=url))
        face.sessions.open()
        tools = server(face, lambda _context: subject)

        async def speak() -> None:
            async with stdio_server() as (reading, writing):
                await tools.run(reading, writing, tools.create_initialization_options())

        anyio.run(speak)
        face.sessions.close()
