"""``workerpool agents``: language models with a role, which the handler ``agent`` asks.

Owns: how agents are given and shown, and one question from here. Does not own: what is refused
(``api.service.agents``), nor asking (``agents``).
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from workerpool.cli.errors import EXIT_CONFIG, EXIT_FAILED, Refused
from workerpool.cli.options import session, with_json, with_settings
from workerpool.cli.providers import key_is_here, told_of_key
from workerpool.cli.tables import write_facts, write_json, write_table
from workerpool.config import Settings
from workerpool.core.agent import PARAMETERS, Parameters
from workerpool.core.errors import message_of
from workerpool.core.wording import counted, printable, safe, shorten

NONE = "no agents; `workerpool agents add NAME --role TEXT --provider NAME` makes one"
TEXTS = ("role", "backstory", "instructions")


class Text(click.ParamType[str]):
    """A text on the command line, of a file, or of standard input."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read TEXT, @FILE, or - for standard input."""
        try:
            if value == "-":
                return sys.stdin.read().strip()
            return Path(value[1:]).read_text(encoding="utf-8-sig").strip() if value.startswith("@") else str(value)
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"{value[1:]} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}", param, ctx)


class Parameter(click.ParamType[tuple[str, Any]]):
    """A model parameter: KEY=JSON."""

    name = "key=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Read such as topP=0.5, stop='["END"]', seed=null."""
        key, equals, text = str(value).partition("=")
        if not equals:
            # (not repeated: nobody knows what it is)
            self.fail(f"KEY=JSON is wanted, KEY one of {', '.join(PARAMETERS)}", param, ctx)
        try:
            return key, json.loads(text)
        except ValueError:
            return key, text


def _given(verb: Any) -> Any:
    """Give a verb the flags that say what an agent is, but its role."""
    for option in (
        click.option("--tool", "tools", multiple=True, metavar="NAME", help="Of WORKERPOOL_AGENT_TOOLS; repeatable."),
        click.option(
            "--parameter",
            "given",
            multiple=True,
            type=Parameter(),
            metavar="KEY=JSON",
            help=f"{', '.join(PARAMETERS)}; repeatable, null takes one back.",
        ),
        click.option("--max-tokens", type=int, help="Of one answer. [default: 2000]"),
        click.option("--temperature", type=float, help="0 to 2. [default: 0.7]"),
        click.option("--model", metavar="NAME", help="[default: the provider's]"),
        click.option("--provider", metavar="NAME", help="Where its model is reached."),
        click.option("--instructions", type=Text(), metavar="TEXT|@FILE|-", help="What it is told to do."),
        click.option("--backstory", type=Text(), metavar="TEXT|@FILE|-", help="What it knows of itself."),
    ):
        verb = option(verb)
    return verb


def _parameters(given: tuple[tuple[str, Any], ...], temperature: float | None, limit: int | None) -> dict[str, Any]:
    found = dict(given)
    if temperature is not None:
        found["temperature"] = temperature
    if limit is not None:
        found["maxTokens"] = limit
    return found


@click.group()
def agents() -> None:
    """Make agents of language models: add, list, show, edit, test, remove."""


@agents.command()
@click.argument("name")
@click.option("--role", type=Text(), required=True, metavar="TEXT|@FILE|-", help="What it is.")
@_given
@with_json
@with_settings
def add(
    settings: Settings,
    as_json: bool,
    name: str,
    given: tuple[tuple[str, Any], ...],
    temperature: float | None,
    max_tokens: int | None,
    **texts: Any,
) -> None:
    """Keep the agent NAME; revisions of the handler `agent` name it in their payload."""
    from workerpool.api.service import agents as service
    from workerpool.store.changing import actor

    wanted = {key: value for key, value in texts.items() if value is not None}
    new = service.NewAgent(name=name, model_parameters=_parameters(given, temperature, max_tokens), **wanted)
    with session(settings, "agents") as opened:
        row = service.add_agent(opened, new, actor())
    if as_json:
        write_json(row)
        return
    click.echo(f"agent {safe(name)} is kept; `workerpool agents test {safe(name)}` asks it once")


@agents.command("list")
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the agents."""
    from workerpool.api.service import agents as service

    with session(settings, "agents") as opened:
        found = service.agents(opened)
    if as_json:
        write_json(found)
        return
    rows = [
        (row["name"], shorten(row["role"], 40), row["provider"], row["model"], ", ".join(row["tools"])) for row in found
    ]
    write_table(("name", "role", "provider", "model", "tools"), rows, NONE)


@agents.command()
@click.argument("name")
@with_json
@with_settings
def show(settings: Settings, as_json: bool, name: str) -> None:
    """Show the agent NAME, what is used where it says nothing, and what is missing."""
    from workerpool.api.service import agents as service
    from workerpool.api.service.agent_rules import spelled

    with session(settings, "agents") as opened:
        row, brief = service.agent(opened, name), service.brief(opened, name)
    its, how, missing = brief.provider, service.used_parameters(brief), service.missing(brief)
    if as_json:
        used = {
            "model_used": brief.model_used,
            "parameters_used": how if isinstance(how, str) else _by_name(how),
            "address": its.address if its is not None else None,
            "key": service.held(its) if its is not None else None,
            "key_is_here": key_is_here(its) if its is not None else None,
            "problem": missing,
        }
        write_json(row | used)
        return
    facts: dict[str, Any] = {key: row[key] for key in ("name", *TEXTS, "provider")}
    if its is not None:
        facts |= {"address": its.address, "key": told_of_key(its)}
    facts["model"] = f"{brief.model_used} (the provider's)" if brief.model_used and not row["model"] else row["model"]
    facts |= _in_words(spelled(row["model_parameters"]), how)
    facts |= {"tools": ", ".join(row["tools"]), "created at": row["created_at"], "missing": missing}
    write_facts([(key, printable(value)) for key, value in facts.items() if value not in (None, "")])


def _by_name(how: Parameters) -> dict[str, Any]:
    """Return parameters under the names that the table has; None: the provider's own."""
    values = asdict(how)
    return {name: values[re.sub("(?=[A-Z])", "_", name).lower()] for name in PARAMETERS}


def _in_words(given: Collection[str], how: Parameters | str) -> dict[str, Any]:
    """Return parameters for people, of which those of *given* are the agent's own."""
    if isinstance(how, str):
        return {}
    unset = {None: "the provider's", (): "none"}
    return {
        name: value if name in given else unset.get(value, f"{value or 0:g} (unless set)")
        for name, value in _by_name(how).items()
    }


@agents.command()
@click.argument("name")
@click.option("--role", type=Text(), metavar="TEXT|@FILE|-", help="What it is.")
@click.option("--no-tools", is_flag=True, help="Take all tools away.")
@_given
@with_json
@with_settings
def edit(
    settings: Settings,
    as_json: bool,
    name: str,
    no_tools: bool,
    tools: tuple[str, ...],
    given: tuple[tuple[str, Any], ...],
    temperature: float | None,
    max_tokens: int | None,
    **texts: str | None,
) -> None:
    """Change what is given of the agent NAME; an empty text ('') takes something away, --tool replaces all tools."""
    from workerpool.api.service import agents as service
    from workerpool.store.changing import actor

    if tools and no_tools:
        raise click.UsageError("--tool and --no-tools exclude each other.")
    changes: dict[str, Any] = {key: value or None for key, value in texts.items() if value is not None}
    if changed := _parameters(given, temperature, max_tokens):
        changes["model_parameters"] = changed
    if tools or no_tools:
        changes["tools"] = tools
    if not changes:
        raise click.UsageError("Nothing is given to change.")
    with session(settings, "agents") as opened:
        row = service.edit_agent(opened, name, changes, actor())
    if as_json:
        write_json(row)
        return
    click.echo(f"agent {safe(name)} is changed, from its next attempt on")


@agents.command()
@click.argument("name")
@with_settings
def remove(settings: Settings, name: str) -> None:
    """Forget the agent NAME; revisions that name it fail."""
    from workerpool.api.service import agents as service
    from workerpool.store.changing import actor

    with session(settings, "agents") as opened:
        service.remove_agent(opened, name, actor())
    click.echo(f"agent {safe(name)} is removed")


@agents.command()
@click.argument("name")
@click.option("--prompt", default="Say in one sentence who you are.", show_default=True, help="What it is asked.")
@with_settings
def test(settings: Settings, name: str, prompt: str) -> None:
    """Ask the agent NAME once, from here, with the key of this environment; nothing is enqueued."""
    from workerpool.api.service import agents as service
    from workerpool.handlers import registry
    from workerpool.handlers.agent import HOW, NEEDED

    missing = [each for each in NEEDED if importlib.util.find_spec(each) is None]
    if missing:
        raise Refused(HOW.format(", ".join(missing)), EXIT_CONFIG)
    with session(settings, "agents") as opened:
        brief = service.brief(opened, name)
    from workerpool.agents import trial

    written = Written()
    try:
        registry.allow_tools(settings.agent_tools)
        spent = trial(brief, prompt, written)
    except registry.HandlerModuleBroken as error:
        raise Refused(safe(str(error)), EXIT_CONFIG) from None
    except Exception as error:
        written.end()
        raise Refused(safe(message_of(error)), EXIT_FAILED) from None
    written.end()
    told = f"{spent.tokens} tokens in {counted(spent.requests, 'request')}, {spent.seconds:.1f} s"
    click.echo(f"workerpool: {told}", err=True)


class Written:
    """An answer on standard output, piece by piece."""

    def __init__(self) -> None:
        self._in_line = False

    def __call__(self, piece: str) -> None:
        """Write a piece."""
        if piece:
            click.echo(safe(piece), nl=False)
            self._in_line = not piece.endswith("\n")

    def end(self) -> None:
        """End the line, where one is begun."""
        if self._in_line:
            click.echo()
            self._in_line = False
