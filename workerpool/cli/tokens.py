"""``workerpool tokens``: who may use the HTTP API, beside the token of the settings.

Owns: how a token is shown, once. Does not own: what one is (``api.service.access``).
"""

from __future__ import annotations

from datetime import timedelta

import click

from workerpool.cli.options import Duration, session, with_json, with_settings
from workerpool.cli.tables import write_json, write_table
from workerpool.config import Settings
from workerpool.core.wording import safe


@click.group()
def tokens() -> None:
    """Let programs and people use the HTTP API: viewers, operators, workers, sources of webhooks."""


@tokens.command("add")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "worker", "source"]),
    required=True,
    help="viewer reads; operator does everything; worker claims over HTTP; source enqueues by webhook.",
)
@click.option(
    "--handler", "handlers", multiple=True, metavar="NAME", help="Of a worker: what it may claim; repeatable."
)
@click.option("--source", metavar="NAME", help="Of a source: its name in WORKERPOOL_SOURCES.")
@click.option("--valid", type=Duration(), help="For how long, as 90d. [default: until it is revoked]")
@with_json
@with_settings
def add(
    settings: Settings,
    as_json: bool,
    name: str,
    role: str,
    handlers: tuple[str, ...],
    source: str | None,
    valid: timedelta | None,
) -> None:
    """Make a token for NAME, under which what it does is recorded, and write it to standard output, this once."""
    from workerpool.api.service import access
    from workerpool.store.changing import actor

    if handlers and role != "worker":
        raise click.UsageError("--handler is for --role worker.")
    if (source is not None) != (role == "source"):
        raise click.UsageError("--source names the source of --role source, and only of that.")
    scopes = list(handlers) or ([source] if source is not None else None)
    with session(settings, "tokens") as opened:
        secret, row = access.add(opened, name, role, actor(), scopes=scopes, valid=valid)  # type: ignore[arg-type]
    if as_json:
        write_json(row | {"token": secret})
        return
    click.echo(secret)
    click.echo(f"workerpool: the token of {safe(name)}, a {role}'s; it is shown this once, and kept nowhere", err=True)


@tokens.command("list")
@click.option("--all", "everyone", is_flag=True, help="Those that were revoked or ran out, too.")
@with_json
@with_settings
def list_(settings: Settings, as_json: bool, everyone: bool) -> None:
    """List who has a token; never the tokens."""
    from workerpool.api.service import access

    with session(settings, "tokens") as opened:
        found = access.listing(opened, everyone=everyone)
    if as_json:
        write_json(found)
        return
    columns = ("name", "role", "scopes", "added", "by", "used", "until", "state")
    rows = [
        (
            row["name"],
            row["role"],
            ", ".join(row["scopes"]) if row["scopes"] is not None else "any",
            row["created_at"],
            row["created_by"],
            row["used_at"],
            row["expires_at"],
            "valid" if row["is_valid"] else "revoked" if row["revoked_at"] else "ran out",
        )
        for row in found
    ]
    write_table(columns, rows, "no tokens; `workerpool tokens add NAME --role ROLE` makes one")


@tokens.command("revoke")
@click.argument("name")
@with_settings
def revoke(settings: Settings, name: str) -> None:
    """Let the holder of NAME's token in no longer; what it holds as a worker runs out with its lease."""
    from workerpool.api.service import access

    with session(settings, "tokens") as opened:
        access.revoke(opened, name)
    click.echo(f"the token of {safe(name)} lets nobody in any more")
