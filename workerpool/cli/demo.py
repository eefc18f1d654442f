"""``workerpool demo``: the example, from pending edits to finished pages, on a pool of its own.

Owns: the story. Does not own: the pool (``demo_pool``), the view (``demo_view``), or the example, which is not part of
the package. Invariant: it exits 0 only when every edit was made, and each on the one before it.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import workerpool
from workerpool.api.edits import Entry, read
from workerpool.api.service.intake import add
from workerpool.cli import demo_view
from workerpool.cli.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_REFUSED, EXIT_TIMED_OUT, Refused
from workerpool.core.wording import counted, safe, shorten

if TYPE_CHECKING:
    from workerpool.cli.demo_pool import Daemon, Place
    from workerpool.store.session import Session

#: Seconds without any progress after which the demo gives up.
STALLED = 60.0


@click.command()
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Worker processes.")
@click.option("--home", type=click.Path(path_type=Path), help="The demo's folder. [default: ./workerpool-demo]")
@click.option("--keep", is_flag=True, help="Keep the demo of before, and take a new folder beside it.")
@click.option("--agents", is_flag=True, help="Let three language-model agents work instead, on three workers.")
@click.option("--model", metavar="NAME", help="With --agents and a key in the environment: the model that is asked.")
def demo(workers: int, home: Path | None, keep: bool, agents: bool, model: str | None) -> None:
    """Edit five small web pages on a pool of its own, and write the finished pages.

    With --agents, agents write instead: by a script that needs no key, or, with OPENAI_API_KEY or DEEPSEEK_API_KEY in
    the environment, by that provider's model.
    """
    from workerpool.cli.demo_pool import choose, connect, running

    if agents:
        from workerpool.cli.demo_agents import play

        sys.exit(0 if play(choose(home, keep=keep), model) else EXIT_FAILED)
    if model is not None:
        raise click.UsageError("--model goes with --agents.")
    examples = find_examples()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemon is stopped on the way out
    entries, complaints = read((examples / "pending-edits.json").read_text(encoding="utf-8"), "array")
    if complaints:
        raise Refused(f"the example's edits are not right: {complaints[0]}", EXIT_CONFIG)
    place = choose(home, keep=keep)
    began = time.monotonic()
    click.echo(f"{counted(workers, 'worker')} and a PostgreSQL of their own, in {place.folder}")
    try:
        with running(place, workers, examples / "pages_handler.py") as daemon, connect(daemon) as session:
            finished = perform(daemon, session, entries, examples, place)
    except KeyboardInterrupt:
        raise Refused("interrupted; the daemon was stopped", 130) from None
    click.echo(f"The daemon was stopped; all of it took {time.monotonic() - began:.0f} s.")
    click.echo(f"Look around: workerpool --help, workerpool items --home {place.home}")
    sys.exit(0 if finished else EXIT_FAILED)


def find_examples() -> Path:
    """Return the folder of the example, beside the package.

    Raises Refused where it is not there or lacks its library.
    """
    folder = Path(workerpool.__file__).resolve().parent.parent / "examples" / "pages"
    if not (folder / "pages_handler.py").is_file():
        raise Refused(
            "the demo needs the examples folder of the source checkout, which an installed package does not have",
            EXIT_REFUSED,
            "run ./start-workers.sh demo in a checkout",
        )
    if importlib.util.find_spec("bs4") is None:
        raise Refused("the demo needs Beautiful Soup", EXIT_CONFIG, "pip install 'workerpool[examples]'")
    return folder


def perform(daemon: Daemon, session: Session, entries: list[Entry], examples: Path, place: Place) -> bool:
    """Import, watch, tell and write; returns whether everything went as it should."""
    done, originals = add(session, entries)
    ids = [each.id for each in done]
    click.echo(f"Imported {counted(len(ids), 'edit')} of {counted(originals, 'page')}.\n")
    requests = {each.id: str(entry.new.payload["edit_request"]) for each, entry in zip(done, entries, strict=True)}  # type: ignore[index]
    demo_view.show(Watch(daemon, session, ids).look, requests)
    rows = session.rows("stacked", ids=ids)
    histories = {
        name: [row for row in rows if row["item_key"] == name] for name in dict.fromkeys(r["item_key"] for r in rows)
    }
    begun = min((row["started_at"] for row in rows if row["started_at"]), default=None)
    for name, history in histories.items():
        demo_view.write_history(name, history, begun)
    wrong = [problem for history in histories.values() for problem in check(history)]
    click.echo()
    for problem in wrong:
        click.secho(problem, fg="red", err=True)
    if not wrong:
        click.secho(f"All {len(rows)} edits are done, and each revision built on the one before it.", fg="green")
    index = write(histories, examples, place)
    click.echo(f"The finished pages: {index}")
    return not wrong


class Watch:
    """Looks at the revisions; gives up when the daemon has ended, or nothing has moved for long."""

    def __init__(self, daemon: Daemon, session: Session, ids: list[int]) -> None:
        self._daemon, self._session, self._ids = daemon, session, ids
        self._last: list[dict[str, Any]] = []
        self._moved = time.monotonic()

    def look(self) -> list[dict[str, Any]]:
        """Return the revisions as they are. Raises Refused."""
        self._daemon.alive()
        try:
            states = self._session.rows("poll", ids=self._ids)
        except Exception:
            self._daemon.ended()
            raise
        now = time.monotonic()
        if states != self._last:
            self._last, self._moved = states, now
        elif now - self._moved > STALLED:
            raise Refused(f"nothing has moved for {STALLED:.0f} s", EXIT_TIMED_OUT, self._daemon.last_words())
        return states


def check(history: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is wrong with a page's revisions: one that failed, or that did not build on the one before it."""
    wrong = []
    base: list[str] = []
    for place, row in enumerate(history):
        name = f"{safe(row['item_key'])}: {safe(row['request'])!r}"
        if row["status"] != "completed":
            wrong.append(f"{name} {row['status']}: {shorten(safe(row['error_message'] or ''), 300)}")
        elif row["applied"][:-1] != base or len(row["applied"]) != len(base) + 1:
            wrong.append(f"{name} (number {row['revision_number']}) did not build on the one before it")
        elif place and row["started_at"] < history[place - 1]["completed_at"]:
            wrong.append(f"{name} (number {row['revision_number']}) started before the one before it had ended")
        base = row["applied"] or base
    return wrong


def write(histories: dict[str, list[dict[str, Any]]], examples: Path, place: Place) -> Path:
    """Write the finished pages and return the path of their index."""
    sys.path.insert(0, str(examples))
    writer = importlib.import_module("demo_pages")
    current = {
        name: rows[-1] for name, history in histories.items() if (rows := [r for r in history if r["revision_number"]])
    }
    written: list[Path] = writer.write_pages(current, place.pages)
    return written[-1]
