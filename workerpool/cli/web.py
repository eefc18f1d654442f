"""``workerpool web``: the API and the dashboard alone, without workers; `workerpool start` brings its own.

Invariant: a signal ends it in order, with every stream told.
"""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

import click
import setproctitle

from workerpool import config, logs
from workerpool.cli.errors import EXIT_CONFIG, Refused
from workerpool.cli.options import session
from workerpool.cli.start import api_brief, lacking, with_every_setting


@click.command()
@with_every_setting
def web(**flags: Any) -> None:
    """Serve the API and the dashboard until a signal ends it, for a database whose workers run elsewhere."""
    settings = config.load({name: value for name, value in flags.items() if value is not None})
    if settings.http is None:
        raise Refused("there is nothing to serve: WORKERPOOL_HTTP is off", EXIT_CONFIG)
    if missing := lacking():
        raise Refused(
            f"packages are missing: {', '.join(missing)}", EXIT_CONFIG, "pip install 'workerpool[web]' installs them"
        )
    from workerpool.api.server import Server, bind
    from workerpool.client import address

    logs.configure(
        settings.log_level, settings.log_format, file=settings.log_file, secrets=config.known_secrets(settings)
    )
    setproctitle.setproctitle("workerpool: api")
    try:
        bind(settings.http.host, settings.http.port).close()
    except OSError as error:
        hint = "a pool may serve there already; --http names another address"
        raise Refused(f"{settings.http} cannot be had: {error.strerror}", EXIT_CONFIG, hint) from None
    with session(settings, "web"):
        pass  # the database is there, and as this program wants it
    with address(settings) as url:
        server = Server(dataclasses.replace(api_brief(settings, settings.http), url=url))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        click.echo(f"workerpool: http://{settings.http}/", err=True)
        server.run()
