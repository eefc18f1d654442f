"""``workerpool config`` and ``workerpool completion``: what is set, and help while typing.

Owns: how the settings are listed for people. Invariant: no secret is shown (`config.describe` masks them).
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from workerpool.cli.options import with_json, with_settings
from workerpool.cli.tables import write_json, write_table
from workerpool.config import Settings, describe

HOW_TO_COMPLETE = {
    "bash": '# For ever: add to ~/.bashrc    eval "$(workerpool completion bash)"',
    "zsh": '# For ever: add to ~/.zshrc    eval "$(workerpool completion zsh)"',
    "fish": "# For ever: workerpool completion fish > ~/.config/fish/completions/workerpool.fish",
}


@click.command()
@click.option("--set", "given", is_flag=True, help="Only what is not at its default.")
@with_json
@with_settings
def config(settings: Settings, as_json: bool, given: bool) -> None:
    """List every setting: its value, where that came from, and what it means."""
    rows = [row for row in describe(settings) if row.source != "default" or not given]
    if as_json:
        write_json(
            [
                {
                    "variable": row.variable,
                    "value": row.value,
                    "source": row.source,
                    "written": row.written or None,
                    "meaning": row.meaning,
                }
                for row in rows
            ]
        )
        return
    sources = [row.source if row.written in ("", row.variable) else f"{row.source} {row.written}" for row in rows]
    write_table(
        ("variable", "value", "source", "meaning"),
        [(row.variable, row.value, source, row.meaning) for row, source in zip(rows, sources, strict=True)],
        empty="every setting is at its default",
    )


@click.command()
@click.argument("shell", type=click.Choice(sorted(HOW_TO_COMPLETE)))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from workerpool.cli import cli

    found = get_completion_class(shell)
    assert found is not None, "click knows every shell of the choice"
    click.echo(HOW_TO_COMPLETE[shell])
    click.echo(found(cli, {}, "workerpool", "_WORKERPOOL_COMPLETE").source())
