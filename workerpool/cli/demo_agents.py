"""``workerpool demo --agents``: three agents at work on a pool of its own, watched.

Owns: the story. Does not own: the pool (``demo_pool``), who plays (``demo_cast``), nor the answers. Invariant: without
a key in the environment nothing is asked of anybody outside of this machine; it exits 0 only when every task is done.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from workerpool.cli.demo_cast import PARTS, PLAYERS, rules
from workerpool.cli.demo_view import LOOK, slot
from workerpool.cli.errors import Refused
from workerpool.cli.options import on_terminal
from workerpool.core.agent import USUAL_KEYS, Provider
from workerpool.core.revision import TERMINAL
from workerpool.core.wording import counted, length, safe, shorten

if TYPE_CHECKING:
    from workerpool.cli.demo import Watch
    from workerpool.cli.demo_pool import Place
    from workerpool.store.session import Row, Session

WORKERS = 3
#: The model that is asked where there is a key and nobody names another.
MODELS = {"openai": "gpt-5-mini", "deepseek": "deepseek-flash"}
#: Lines of the log that are read at once.
LINES = 500


def play(place: Place, model: str | None) -> bool:
    """Let the agents work, and tell what came of it; returns whether every task is done. Raises Refused."""
    from workerpool.cli.demo import Watch
    from workerpool.cli.demo_pool import connect, running

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemon is stopped on the way out
    began = time.monotonic()
    with _provider(model) as provider:
        click.echo(f"{counted(WORKERS, 'worker')} and a PostgreSQL of their own, in {place.folder}")
        try:
            with running(place, WORKERS, None) as daemon, connect(daemon) as session:
                ids = _enqueue(session, provider)
                states = _show(Watch(daemon, session, ids), session)
                finished = _tell(session, states)
        except KeyboardInterrupt:
            raise Refused("interrupted; the daemon was stopped", 130) from None
    click.echo(f"The daemon was stopped; all of it took {time.monotonic() - began:.0f} s.")
    click.echo(f"Look around: workerpool agents list --home {place.home}")
    return finished


@contextmanager
def _provider(model: str | None) -> Iterator[Provider]:
    """Yield the provider of the first key in the environment, else of a model that answers by script."""
    for kind, variable in USUAL_KEYS.items():
        if os.environ.get(variable):
            click.echo(f"{variable} is set: {kind} is asked, model {model or MODELS[kind]}.")
            yield Provider(kind, kind, default_model=model or MODELS[kind])
            return
    if model is not None:
        raise click.UsageError(f"--model needs a key in the environment: {' or '.join(USUAL_KEYS.values())}.")
    from workerpool.rehearsal import ModelServer
    from workerpool.rehearsal import rules as by_rules

    with ModelServer(by_rules(rules())) as server:
        click.echo("No key is in the environment: a model on this machine answers by script.")
        yield Provider("rehearsal", "openai-compatible", server.url, "scripted")


def _enqueue(session: Session, provider: Provider) -> list[int]:
    from workerpool.api.service import agents
    from workerpool.api.service.revisions import enqueue
    from workerpool.store.asked import NewRevision
    from workerpool.store.changing import actor

    who = actor()
    agents.add_provider(session, provider, who)
    for player in PLAYERS:
        agents.add_agent(
            session,
            agents.NewAgent(
                name=player.name,
                role=player.role,
                backstory=player.backstory,
                instructions=player.instructions,
                provider=provider.name,
                model_parameters=player.parameters,
            ),
            who,
        )
    asked = [
        {"agent": part.agent, "title": part.title, "instructions": part.instructions, "input": part.input}
        for part in PARTS
    ]
    new = [NewRevision(part.item, payload, "agent") for part, payload in zip(PARTS, asked, strict=True)]
    return [each.id for each in enqueue(session, new)]


@dataclass(slots=True)
class _Lines:
    """The lines of the log that were read."""

    session: Session
    last: int = 0

    def fresh(self) -> list[Row]:
        """Return those that came since the last look."""
        rows = self.session.rows("log_after", revision=None, after=self.last, how_many=LINES)
        self.last = rows[-1]["id"] if rows else self.last
        return rows


def _show(watch: Watch, session: Session) -> list[Row]:
    lines = _Lines(session)
    return _draw(watch, lines) if on_terminal() else _print(watch, lines)


def _agent_of(states: list[Row]) -> dict[int, str]:
    return {state["id"]: part.agent for state, part in zip(states, PARTS, strict=True)}


def _print(watch: Watch, lines: _Lines) -> list[Row]:
    """Write each line of the log as it comes, with its agent and its item."""
    while True:
        states = watch.look()
        agents = _agent_of(states)
        over = all(state["status"] in TERMINAL for state in states)
        items = {state["id"]: state for state in states}
        for line in lines.fresh():
            state = items[line["revision_id"]]
            who = f"{slot(state['worker_id']):3} {agents[line['revision_id']]:<11} {state['item_key']:<14}"
            click.echo(f"{who} {safe(line['message'])}")
        if over:
            return states
        time.sleep(LOOK)


def _draw(watch: Watch, lines: _Lines) -> list[Row]:
    """Draw a bar for each task, with its step and the last line of its log."""
    from rich.console import Console
    from rich.live import Live

    last: dict[int, str] = {}
    with Live(console=Console(highlight=False), refresh_per_second=12) as live:
        while True:
            states = watch.look()
            last |= {line["revision_id"]: safe(line["message"]) for line in lines.fresh()}
            live.update(_table(states, last))
            if all(state["status"] in TERMINAL for state in states):
                return states
            time.sleep(LOOK)


def _table(states: list[Row], last: dict[int, str]) -> Any:
    from rich import box
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    agents = _agent_of(states)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column, width in (("agent", 10), ("item", 13), ("", 20), ("step", 18), ("worker", 6), ("log", None)):
        table.add_column(column, min_width=width, no_wrap=True)
    for state in states:
        done, failed = state["status"] == "completed", state["status"] == "failed"
        colour = "red" if failed else "green" if done else ""
        step = state["step"] if state["status"] == "processing" else state["status"]
        table.add_row(
            Text(agents[state["id"]], style=colour),
            Text(state["item_key"]),
            ProgressBar(total=100, completed=100 if done else state["percent"] or 0, width=20),
            Text(step or "", style=colour),
            Text(slot(state["worker_id"]), style="cyan"),
            Text(shorten(last.get(state["id"], ""), 60), style="dim"),
        )
    return table


def _tell(session: Session, states: list[Row]) -> bool:
    """Write what each agent answered and what it took."""
    agents = _agent_of(states)
    for state, part in zip(states, PARTS, strict=True):
        click.echo()
        click.secho(f"{agents[state['id']]}: {part.title} ({state['item_key']})", bold=True)
        if state["status"] != "completed":
            click.secho(f"{state['status']}: {safe(state['error_message'] or '')}", fg="red", err=True)
            continue
        row = session.row("revision", id=state["id"])
        result = row["result"] if row else {}
        click.echo(str(result["output"]))
        took = result["metrics"]
        click.secho(
            f"{took['tokensUsed']} tokens in {counted(took['requestCount'], 'request')}, "
            f"{length(took['executionTime'])}",
            dim=True,
        )
    click.echo()
    finished = all(state["status"] == "completed" for state in states)
    if finished:
        click.secho(f"All {len(states)} tasks are done.", fg="green")
    return finished
