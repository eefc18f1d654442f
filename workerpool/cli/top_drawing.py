"""The screen of `top`: which panel stands where, for a terminal of any size.

Owns: the division of the screen, the question at its foot, the help. Does not own: what a panel says (``top_panels``).
Pure. Invariant: the badge and the keys are always there, and a question is never cut off by what is above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.text import Text

from workerpool.cli import top_panels as panels
from workerpool.cli import top_view
from workerpool.cli.top_looker import Said
from workerpool.cli.top_picture import Picture
from workerpool.cli.top_view import Prompt, View
from workerpool.store.session import Row

#: Smaller than this nothing can be read.
LEAST = (40, 10)
#: From the one that is never left out to the first that is, where there is no room.
KEYS = ("q quit", "p pause", "r resume", "c cancel", "l log", "? help", "Tab {other}", "Space freeze", "↑↓ select")
LOG_KEYS = ("Esc back", "q quit", "↑↓ PgUp PgDn scroll", "End newest", "Space freeze", "? help")
HELP = (
    ("q, Ctrl-C", "leave; the pool does not notice"),
    ("p", "pause: asks the mode, and why, which everybody who waits will read"),
    ("r", "resume: take your own pauses away; others' are named"),
    ("c", "cancel a revision; Enter alone takes the selected one"),
    ("l", "follow the log of a revision; Esc leads back"),
    ("↑↓ PgUp PgDn", "select a worker or an item; Home, End"),
    ("Tab", "go to the items, or to the workers"),
    ("Space", "freeze the screen, and let it go on"),
    ("", ""),
    ("queue", "what waits and runs; counted to 10,000 and no further"),
    ("latest", "how the last 2,000 revisions that were added have fared"),
    ("ended", "so many a second; told by heartbeats, and so a little late"),
    ("MEM, UP", "a worker's resident memory, the time since its start"),
    ("RST", "how often the process in this slot was started again"),
    ("DEPTH", "how many revisions of an item wait or run"),
    ("HEAD", "the one that runs, or else the one that is next"),
    ("WHY", "where it runs, or why not; told whole where it is selected"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that may be on the screen."""

    view: View
    picture: Picture | None = None
    away: str | None = None
    """Why the database cannot be asked; None: it can."""
    said: Said | None = None
    log: tuple[Row, ...] = ()
    log_state: Row | None = None
    is_log_read: bool = False
    where: str = ""


def screen(scene: Scene, console: Console) -> RenderableType:
    """Return the whole screen."""
    width, height = console.size
    if width < LEAST[0] or height < LEAST[1]:
        return Text(f"workerpool top wants {LEAST[0]} columns and {LEAST[1]} lines; q quits", overflow="fold")
    if scene.view.is_helping:
        return _help()
    if scene.view.log is not None:
        return _log(scene, console)
    return _overview(scene, console)


def _overview(scene: Scene, console: Console) -> RenderableType:
    width, height = console.size
    ascii_only, view, picture = console.options.ascii_only, scene.view, scene.picture
    other = "items" if view.panel == "workers" else "workers"
    foot = _foot(scene, [key.format(other=other) for key in KEYS], console)
    head: list[Text] = [_title(scene, width)]
    if scene.away is not None:
        head.append(_away(scene.away))
    if picture is None:
        waits = Text("" if scene.away else "looking …", style="dim")
        return _stacked([("head", _lines([*head, waits]), None), ("foot", foot, len(foot.renderables))])
    head.append(panels.queue(picture))
    head += [panels.latest(picture), panels.course(picture, width, ascii_only)] if height >= 14 else []
    head += panels.pauses(picture, 3 if height < 30 else 6)
    chosen, item = top_view.worker(view, picture), top_view.item(view, picture)
    whole = _whole(view, picture, console)
    events = 0 if height < 16 else 3 if height < 20 else 4 if height < 30 else 6
    left = height - len(head) - len(foot.renderables) - events - len(whole) - 2
    workers_room = _share(len(picture.workers) or 1, len(picture.items) or 1, left)
    workers = panels.workers(
        picture, chosen, workers_room, is_active=view.panel == "workers", width=width, ascii_only=ascii_only
    )
    items = panels.items(picture, item, left - workers_room, is_active=view.panel == "items")
    return _stacked(
        [
            ("head", _lines(head), len(head)),
            ("workers", workers, workers_room + 1),
            ("items", items, None),
            ("whole", _lines(whole), len(whole)),
            ("events", _lines(panels.events(picture, events)), events),
            ("foot", foot, len(foot.renderables)),
        ],
        is_dim=scene.away is not None,
    )


def _share(workers: int, items: int, left: int) -> int:
    """Return how many of the lines that are left the workers get: what they need, if the items have theirs or half."""
    return max(1, min(workers, max(left // 2, left - max(items, 3))))


def _stacked(parts: Sequence[tuple[str, RenderableType, int | None]], is_dim: bool = False) -> Layout:
    from rich.styled import Styled

    layout = Layout()
    layout.split_column(
        *(
            Layout(Styled(part, "dim") if is_dim and name not in ("head", "foot") else part, name=name, size=size)
            for name, part, size in parts
            if size != 0
        )
    )
    return layout


def _lines(lines: Sequence[Text]) -> Group:
    for each in lines:
        each.no_wrap, each.overflow = True, "ellipsis"
    return Group(*lines)


def _title(scene: Scene, width: int) -> Text:
    title = Text.assemble(("workerpool top ", "bold"))
    if scene.picture is not None:
        title.append_text(panels.badge(scene.picture))
    if scene.view.is_frozen:
        title.append(" frozen ", style="bold black on cyan")
    clock = scene.picture.at.astimezone().strftime("%H:%M:%S") if scene.picture is not None else ""
    right = f"{panels.line(scene.where)}  {clock}"
    room = width - title.cell_len - 1
    if len(right) > room:
        right = clock
    title.append(" " * max(1, width - title.cell_len - len(right)))
    return title.append(right, style="dim")


def _away(why: str) -> Text:
    return Text(f"trying again: {panels.line(why)}", style="bold white on red")


def _whole(view: View, picture: Picture, console: Console) -> list[Text]:
    """Return the whole sentence on the selected item, where it is cut off in its row."""
    chosen = top_view.item(view, picture) if view.panel == "items" else None
    if chosen is None:
        return []
    told = Text.assemble((f"{panels.line(chosen.key)}: ", "bold"), panels.line(chosen.why) or "nothing waits")
    return list(told.wrap(console, console.width))[: 2 if console.height < 30 else 4]


def _foot(scene: Scene, keys: Sequence[str], console: Console) -> Group:
    """Return the question that is open, else what was said last, else the keys."""
    if scene.view.prompt is not None:
        told = _question(scene.view.prompt)
    elif scene.said is not None:
        told = Text(panels.line(scene.said.text), style="bold green" if scene.said.is_good else "bold red")
    else:
        while len("  ".join(keys)) > console.width:
            keys = keys[:-1]
        return _lines([Text("  ".join(keys), style="dim")])
    wrapped = list(told.wrap(console, console.width))
    return Group(*wrapped[-6:] if scene.view.prompt is not None else wrapped[:4])


def _question(prompt: Prompt) -> Text:
    words = {
        "mode": "pause: d drain (what runs ends)  q quiesce (held at a checkpoint)  Esc no",
        "reason": f"pause ({prompt.mode}); why? ",
        "cancel": "cancel which revision? ",
        "log": "the log of which revision? ",
    }  # fmt: skip
    told = Text.assemble((words[prompt.question], "bold"), panels.line(prompt.text) if prompt.text.strip() else "")
    if prompt.question != "mode":
        told.append(f"[{prompt.usual}]" if prompt.usual and not prompt.text else "", style="dim")
        told.append(" ", style="reverse")
        told.append(f"  {prompt.wrong}" if prompt.wrong else "  Enter does it, Esc does not", style="dim")
    return told


def _help() -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for key, meaning in HELP:
        table.add_row(key, meaning)
    title = Text("workerpool top: any key leads back from here\n", style="bold")
    return _stacked([("help", Group(title, table), None)])


def _log(scene: Scene, console: Console) -> RenderableType:
    view = scene.view
    assert view.log is not None, "a log is shown"
    foot = _foot(scene, LOG_KEYS, console)
    head = [Text(f" revision {view.log}: looking …")]
    if scene.is_log_read:
        head = [panels.log_head(view.log, scene.log_state, stands_still=view.is_frozen or view.back > 0)]
    if scene.away is not None:
        head.append(_away(scene.away))
    room = console.height - len(head) - len(foot.renderables)
    lines = wrapped(scene.log, console, room + view.back)
    end = max(min(room, len(lines)), len(lines) - view.back)
    rows = lines[max(0, end - room) : end]
    if not scene.log and scene.is_log_read:
        rows = [Text("nothing was logged yet", style="dim")]
    return _stacked(
        [("head", _lines(head), len(head)), ("log", Group(*rows), None), ("foot", foot, len(foot.renderables))]
    )


def wrapped(log: Sequence[Row], console: Console, wanted: int) -> list[Text]:
    """Return the last lines of a log as they stand on the screen, at least *wanted* of them if there are so many."""
    found: list[list[Text]] = []
    count = 0
    for row in reversed(log):
        if count >= wanted:
            break
        found.append(list(panels.log_line(row).wrap(console, console.width, tab_size=8)))
        count += len(found[-1])
    return [each for lines in reversed(found) for each in lines]


def furthest(scene: Scene, console: Console) -> int:
    """Return how far from its end a log can be scrolled back."""
    return max(0, len(wrapped(scene.log, console, console.height * len(scene.log))) - console.height + 2)
