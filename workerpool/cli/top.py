"""``workerpool top``: the pool in a terminal, live, with keys to pause, resume, cancel and follow.

Owns: the loop between the keys, the looker and the screen; the picture that is written once. Does not own: what is seen
(``top_picture``), what a key means (``top_view``), how it looks (``top_drawing``). Invariant: the terminal is as it was
before, however this ends; the loop waits for nothing but keys, news and signals, least of all for the database.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from queue import Empty
from typing import TYPE_CHECKING

import click

from workerpool.api import holders
from workerpool.cli import top_drawing as drawing
from workerpool.cli import top_panels as panels
from workerpool.cli.errors import EXIT_NO_DATABASE, explain
from workerpool.cli.options import Duration, on_terminal, session, with_json, with_settings
from workerpool.cli.tables import write_facts, write_json, write_table
from workerpool.cli.top_drawing import Scene
from workerpool.cli.top_looker import LINES, Away, Broken, Lines, Looker, News, Said
from workerpool.cli.top_picture import DEEP, MOST, RECENT, Picture, look
from workerpool.cli.top_terminal import Bell, Keyboard, stop
from workerpool.cli.top_view import Act, Cancel, Follow, Pause, Quit, Resume, View, press
from workerpool.config import Settings, mask_url
from workerpool.core.wording import length

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from workerpool.store.session import Row

SHORTEST, LONGEST = timedelta(milliseconds=200), timedelta(hours=1)
#: Seconds for which an answer stands in place of the keys, and at most between two drawings.
STANDS, REDRAW = 12.0, 1.0
#: Seconds to wait at the end for a database that does not answer.
PATIENCE = 0.5
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
NOTED = (*ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
DOING = {Pause: "pausing …", Resume: "resuming …", Cancel: "cancelling …"}


@click.command()
@click.option("--interval", type=Duration(), default="1s", show_default=True, help="Between two looks.")
@click.option("--once", is_flag=True, help="Write one picture as text, as where nobody reads on a terminal.")
@with_json
@with_settings
def top(settings: Settings, as_json: bool, interval: timedelta, once: bool) -> None:
    """Watch workers, items, rates and the pause, live; keys pause, resume, cancel, and follow a log.

    Without a terminal, or with --once or --json, one picture is written.
    """
    if not SHORTEST <= interval <= LONGEST:
        raise click.UsageError("--interval is between 200ms and 1h.")
    if as_json or once or not (on_terminal() and sys.stdin.isatty()):
        with session(settings, "top") as opened:
            picture = look(opened, settings.lease)
        if as_json:
            write_json(_facts(picture))
        else:
            _write(picture)
        return
    number = watch(settings, interval)
    if number not in (None, signal.SIGINT):
        sys.exit(128 + number)


def _facts(picture: Picture) -> dict[str, object]:
    """Return what is known, for programs; the bounds tell what a count above them means."""
    facts = {name: value for name, value in asdict(picture).items() if name not in ("rate", "course")}
    return facts | {"counted_to": {"counts": MOST, "depth": DEEP, "latest": RECENT}}


def _write(picture: Picture) -> None:
    counts = {name: panels.figure(count) for name, count in picture.counts.items() if count or name == "pending"}
    click.echo(picture.badge)
    facts: list[tuple[str, object]] = list(counts.items())
    facts += [("paused" if place == 0 else "", holders.sentence(each)) for place, each in enumerate(picture.pauses)]
    facts += [("", picture.safety), ("latest", panels.latest(picture).plain.partition(": ")[2].strip())]
    write_facts((name, told) for name, told in facts if told)
    click.echo()
    rows = [
        (panels.line(each.id), each.pid, each.state, each.revision, panels.line(each.item), panels.step(each),
         f"{each.percent:.0f}%" if each.percent is not None else "", panels.memory(each.memory), each.restarts,
         length(each.age))
        for each in picture.workers
    ]  # fmt: skip
    columns = ("worker", "pid", "state", "revision", "item", "step", "progress", "memory", "restarts", "up")
    write_table(columns, rows, "no worker is alive; `workerpool start` starts some")
    click.echo()
    lines = [
        (panels.line(each.key), panels.figure(each.depth + each.deeper, DEEP), each.head, panels.line(each.why))
        for each in picture.items
    ]
    write_table(("item", "depth", "head", "why"), lines, "nothing waits, nothing runs")
    click.echo()
    for line in panels.events(picture, len(picture.events) + 1)[1:]:
        click.echo(line.plain)


def watch(settings: Settings, interval: timedelta) -> int | None:
    """Show the pool until somebody leaves; return the signal that ended it, None for a key.

    Raises what waiting does not mend: a schema of another version, a role that may not look.
    """
    from rich.console import Console

    bell = Bell(NOTED)
    looker = Looker(settings, interval.total_seconds(), bell.ring)
    try:
        looker.connect()
    except Exception as error:
        known = explain(error)
        if known is None or known.exit_code != EXIT_NO_DATABASE:
            raise
    with bell:
        looker.start()
        loop = Loop(looker, bell, Console(highlight=False), Scene(View(), where=_where(settings)))
        try:
            return loop.run()
        finally:
            looker.leave(PATIENCE)


def _where(settings: Settings) -> str:
    if settings.database_url is None:
        return f"embedded in {settings.home}"
    return mask_url(settings.database_url.get_secret_value()).rpartition("@")[2].partition("?")[0]


@dataclass(slots=True)
class Loop:
    """What is on the screen, and what changes it."""

    looker: Looker
    bell: Bell
    console: Console
    scene: Scene
    kept: list[Row] = field(default_factory=list)
    """The lines of the log that is followed; those that are shown stand still while somebody reads."""
    stands_until: float = 0.0

    def run(self) -> int | None:
        """Draw, and wait for what comes, until it is over; return the signal that ended it."""
        while True:
            with _drawn(self.console) as (live, keyboard):
                is_over = self._go(live, keyboard)
            ended = [number for number in ENDING if number in self.bell.signals]
            if is_over or ended:
                return ended[0] if ended else None
            if signal.SIGTSTP in self.bell.signals:
                stop()
            # (whoever was stopped finds the terminal as somebody else left it)
            self.bell.signals.clear()

    def _go(self, live: Live, keyboard: Keyboard) -> bool:
        """Return True when somebody leaves, False at a signal that ends or stops."""
        while not self.bell.signals & {*ENDING, signal.SIGTSTP, signal.SIGCONT}:
            self._draw(live)
            if self.bell.wait(keyboard.descriptor, REDRAW):
                pressed = keyboard.read()
                if pressed is None or not all(self._press(key) for key in pressed):
                    return True
            self._hear()
        return False

    def _draw(self, live: Live) -> None:
        from rich.console import ConsoleDimensions

        if self.scene.said is not None and time.monotonic() > self.stands_until:
            self.scene = replace(self.scene, said=None)
        # (asked anew each time: rich would believe COLUMNS and LINES, which do not change with the window)
        self.console.size = ConsoleDimensions(*os.get_terminal_size(sys.stdout.fileno()))
        live.update(drawing.screen(self.scene, self.console), refresh=True)

    def _press(self, key: str) -> bool:
        """Do what a key means; tells whether to go on."""
        view, act = press(self.scene.view, key, self.scene.picture)
        self.scene = replace(self.scene, view=view, said=None)
        if act is not None and not self._ask(act):
            return False
        if view.log is not None:
            back = min(view.back, drawing.furthest(self.scene, self.console))
            self.scene = replace(self.scene, view=replace(view, back=back))
            self._unroll()
        return True

    def _ask(self, act: Act) -> bool:
        match act:
            case Quit():
                return False
            case Follow():
                self.kept.clear()
                self.scene = replace(self.scene, log=(), log_state=None, is_log_read=False)
            case _:
                self._say(Said(DOING[type(act)]))
        self.looker.ask(act)
        return True

    def _say(self, said: Said) -> None:
        self.scene = replace(self.scene, said=said)
        self.stands_until = time.monotonic() + STANDS

    def _hear(self) -> None:
        """Take all news there is."""
        with suppress(Empty):
            while True:
                self._take(self.looker.news.get_nowait())

    def _take(self, news: News) -> None:
        match news:
            case Picture():
                self.scene = replace(self.scene, away=None)
                if not self.scene.view.is_frozen:
                    self.scene = replace(self.scene, picture=news)
            case Lines(revision, state, lines):
                if revision == self.scene.view.log:
                    # (what was on its way while one left the log and came back is there already)
                    there = {row["id"] for row in self.kept}
                    self.kept = [*self.kept, *(row for row in lines if row["id"] not in there)][-LINES:]
                    self.scene = replace(self.scene, log_state=state, is_log_read=True)
                    self._unroll()
            case Said():
                self._say(news)
            case Away(why):
                self.scene = replace(self.scene, away=why)
            case Broken(error):
                raise error

    def _unroll(self) -> None:
        """Show the log to its end, unless somebody reads further up."""
        if not (self.scene.view.is_frozen or self.scene.view.back):
            self.scene = replace(self.scene, log=tuple(self.kept))


@contextmanager
def _drawn(console: Console) -> Iterator[tuple[Live, Keyboard]]:
    """Have the terminal for drawing and for single keys, and give it back as it was."""
    from rich.live import Live

    with Keyboard() as keyboard:
        live = Live(console=console, screen=True, auto_refresh=False, transient=True)
        try:
            live.start()
            yield live, keyboard
        finally:
            with suppress(OSError):  # the terminal was closed
                live.stop()
