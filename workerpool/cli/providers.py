"""``workerpool providers``: where language models are reached.

Owns: how providers are given and shown. Does not own: what is refused (``api.service.agents``). Invariant: a key is
never asked for, only the name of what holds it.
"""

from __future__ import annotations

import os
from typing import Any

import click

from workerpool.cli.options import session, with_json, with_settings
from workerpool.cli.tables import write_facts, write_json, write_table
from workerpool.config import Settings
from workerpool.core.agent import SUPPORTED, Provider, wrong_with
from workerpool.core.wording import counted, printable, safe

NONE = "no providers; `workerpool providers add NAME --type TYPE` makes one"
#: Flag -> column; an empty text takes it away.
COLUMNS = {"base_url": "base_url", "model": "default_model", "key_variable": "key_variable", "key_file": "key_file"}


def _given(verb: Any) -> Any:
    """Give a verb the flags that say what a provider is."""
    for option in (
        click.option("--key-file", metavar="PATH", help="The file that holds the key, on the workers' hosts."),
        click.option("--key-variable", metavar="NAME", help="The workers' environment variable that holds the key."),
        click.option("--model", metavar="NAME", help="The model of agents that name none."),
        click.option("--base-url", metavar="URL", help="Its address, such as http://127.0.0.1:11434/v1."),
    ):
        verb = option(verb)
    return verb


@click.group()
def providers() -> None:
    """Say where language models are reached: add, list, show, edit, remove."""


@providers.command()
@click.argument("name")
@click.option("--type", "kind", required=True, type=click.Choice(SUPPORTED), help="Which protocol and address.")
@_given
@with_json
@with_settings
def add(settings: Settings, as_json: bool, name: str, kind: str, **flags: str | None) -> None:
    """Keep the provider NAME; the key stays where it is, in the environment or a file of the workers."""
    from workerpool.api.service import agents
    from workerpool.store.changing import actor

    columns = {COLUMNS[flag]: value for flag, value in flags.items() if value}
    with session(settings, "providers") as opened:
        row = agents.add_provider(opened, Provider(name, kind, **columns), actor())
    _tell(row, "is kept", as_json)


@providers.command("list")
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the providers, with how many agents each serves."""
    from workerpool.api.service import agents

    with session(settings, "providers") as opened:
        found = agents.providers(opened)
    if as_json:
        write_json(found)
        return
    columns = ("name", "type", "address", "model", "key", "agents")
    rows = []
    for row in found:
        its = agents.provider_of(row)
        rows.append((row["name"], row["type"], its.address, row["default_model"], agents.held(its), row["agents"]))
    write_table(columns, rows, NONE)


@providers.command()
@click.argument("name")
@with_json
@with_settings
def show(settings: Settings, as_json: bool, name: str) -> None:
    """Show the provider NAME, and what is missing here."""
    from workerpool.api.service import agents

    with session(settings, "providers") as opened:
        row = agents.provider(opened, name)
    its = agents.provider_of(row)
    used = {
        "address": its.address,
        "key": agents.held(its),
        "key_is_here": key_is_here(its),
        "problem": wrong_with(its),
    }
    if as_json:
        write_json(row | used)
        return
    facts = {"address": its.address, "key": told_of_key(its), "problem": wrong_with(its)}
    known = {key.replace("_", " "): value for key, value in row.items() if not key.startswith("key")} | facts
    write_facts([(key, printable(value)) for key, value in known.items() if value is not None])


@providers.command()
@click.argument("name")
@click.option("--type", "kind", type=click.Choice(SUPPORTED), help="Which protocol and address.")
@_given
@with_json
@with_settings
def edit(settings: Settings, as_json: bool, name: str, kind: str | None, **flags: str | None) -> None:
    """Change what is given of the provider NAME; an empty text ('') takes something away."""
    from workerpool.api.service import agents
    from workerpool.store.changing import actor

    changes: dict[str, Any] = {COLUMNS[flag]: value or None for flag, value in flags.items() if value is not None}
    if kind is not None:
        changes["type"] = kind
    if not changes:
        raise click.UsageError("Nothing is given to change.")
    with session(settings, "providers") as opened:
        row = agents.edit_provider(opened, name, changes, actor())
    _tell(row, "is changed", as_json)


@providers.command()
@click.argument("name")
@with_settings
def remove(settings: Settings, name: str) -> None:
    """Forget the provider NAME, where no agent uses it."""
    from workerpool.api.service import agents
    from workerpool.store.changing import actor

    with session(settings, "providers") as opened:
        agents.remove_provider(opened, name, actor())
    click.echo(f"provider {safe(name)} is removed")


def key_is_here(its: Provider) -> bool | None:
    """Tell whether the key of a provider is where this command runs; None: it has none."""
    if its.key_file is not None:
        return os.access(os.path.expanduser(its.key_file), os.R_OK)
    return bool(os.environ.get(its.variable, "").strip()) if its.variable is not None else None


def told_of_key(its: Provider) -> str:
    """Return what holds the key of a provider, and whether it is here; the workers may have another environment."""
    from workerpool.api.service import agents

    here = {None: "", True: ", is here", False: ", is not here: it must be where the workers are"}
    return f"{agents.held(its)}{here[key_is_here(its)]}"


def _tell(row: dict[str, Any], what: str, as_json: bool) -> None:
    from workerpool.api.service import agents

    if as_json:
        write_json(row)
        return
    its = agents.provider_of(row)
    click.echo(f"provider {safe(its.name)} {what}; key: {safe(told_of_key(its))}")
    if not row["agents"]:
        click.echo(f"`workerpool agents add NAME --provider {safe(its.name)} --role TEXT` makes an agent of it")
    else:
        click.echo(f"it serves {counted(row['agents'], 'agent')}")
