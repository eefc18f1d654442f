"""``workerpool explain``: why a revision does not run, and the next command.

Owns: following the line of an item to the one that everything waits for. Does not own: the reasons (``reasons``).
"""

from __future__ import annotations

import click

from workerpool.api.service import revisions
from workerpool.cli.options import RevisionId, session, with_json, with_settings
from workerpool.cli.tables import paint, write_json
from workerpool.config import Settings
from workerpool.core.wording import safe


@click.command()
@click.argument("revision", metavar="ID", type=RevisionId())
@with_json
@with_settings
def explain(settings: Settings, as_json: bool, revision: int) -> None:
    """Say why the revision ID is not running, or what it does, and the next command."""
    with session(settings, "explain") as opened:
        told = revisions.explain(opened, revision, settings.lease)
    if as_json:
        said = [
            {"id": f["id"], "item_key": f["item_key"], "status": f["status"], "why": r.why, "next": r.command}
            for f, r in told
        ]
        write_json(said[0] | {"behind": said[1] if len(said) > 1 else None})
        return
    for facts, why in told:
        click.echo(f"revision {facts['id']} of {safe(facts['item_key'])} is {paint(facts['status'])}: {why.why}")
    if command := told[-1][1].command:
        click.echo(f"  next: {click.style(command, bold=True)}")
