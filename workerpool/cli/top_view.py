"""What a key means in `top`: from a view and a key to the next view, and what is to be done.

Owns: the keys and the questions. Does not own: the facts, the drawing, the doing. Pure. Invariant: nothing is done to
the pool without a question that names it, but a resume, which gives back what one took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from workerpool.cli.top_picture import Item, Picture, Worker
from workerpool.store.pausing import Mode

#: What is asked, in the order of its questions.
Question = Literal["mode", "reason", "cancel", "log"]
#: How long a reason may be, and the digits of the greatest id.
LONGEST, DIGITS = 300, 18


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause everything."""

    mode: Mode
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Take one's own pauses away."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Follow:
    """Show the log of a revision as it grows; None: no longer."""

    revision: int | None


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave."""


Act = Pause | Resume | Cancel | Follow | Quit


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question that is open, and what was typed so far; *usual* is what an empty answer means."""

    question: Question
    text: str = ""
    usual: str = ""
    mode: Mode = "drain"
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What somebody looks at: *log* is the revision whose log fills the screen, *back* how far from its end."""

    panel: Literal["workers", "items"] = "workers"
    worker: str | None = None
    item: str | None = None
    is_frozen: bool = False
    is_helping: bool = False
    prompt: Prompt | None = None
    log: int | None = None
    back: int = 0


Step = tuple[View, Act | None]


def press(view: View, key: str, picture: Picture | None) -> Step:
    """Return what a key leads to, and what is to be done for it."""
    if view.prompt is not None:
        return _answer(view, view.prompt, key)
    if view.is_helping:
        return (view, Quit()) if key == "q" else (replace(view, is_helping=False), None)
    match key:
        case "q":
            return view, Quit()
        case "?" | "h":
            return replace(view, is_helping=True), None
        case " ":
            return replace(view, is_frozen=not view.is_frozen), None
        case _ if view.log is not None:
            return _in_log(view, key)
        case "p":
            return replace(view, prompt=Prompt("mode")), None
        case "r":
            return view, Resume()
        case "c" | "l":
            return replace(view, prompt=Prompt("cancel" if key == "c" else "log", usual=_meant(view, picture))), None
        case "tab" | "back tab":
            return replace(view, panel="items" if view.panel == "workers" else "workers"), None
        case _:
            return _move(view, key, picture), None


def _in_log(view: View, key: str) -> Step:
    if key in ("escape", "left", "l"):
        return replace(view, log=None, back=0, is_frozen=False), Follow(None)
    by = {"up": 1, "page up": 10, "down": -1, "page down": -10, "home": 1_000_000, "end": -1_000_000}.get(key, 0)
    return replace(view, back=max(0, view.back + by)), None


def _move(view: View, key: str, picture: Picture | None) -> View:
    if picture is None:
        return view
    names: Sequence[str]
    if view.panel == "workers":
        names, here = [each.place for each in picture.workers], worker(view, picture)
        now = here.place if here is not None else None
    else:
        names, item_here = [each.key for each in picture.items], item(view, picture)
        now = item_here.key if item_here is not None else None
    if now is None:
        return view
    last, at = len(names) - 1, names.index(now)
    to = {"up": at - 1, "down": at + 1, "page up": at - 10, "page down": at + 10, "home": 0, "end": last}.get(key, at)
    name = names[min(max(to, 0), last)]
    return replace(view, worker=name) if view.panel == "workers" else replace(view, item=name)


def worker(view: View, picture: Picture) -> Worker | None:
    """Return the worker that is selected; the first one where none is, or where it is no longer there."""
    first = picture.workers[0] if picture.workers else None
    return next((each for each in picture.workers if each.place == view.worker), first)


def item(view: View, picture: Picture) -> Item | None:
    """Return the item that is selected, in the same way."""
    first = picture.items[0] if picture.items else None
    return next((each for each in picture.items if each.key == view.item), first)


def _meant(view: View, picture: Picture | None) -> str:
    """Return the id of the revision that is selected; empty: none is."""
    if picture is None:
        return ""
    if view.panel == "workers":
        here = worker(view, picture)
        return str(here.revision) if here is not None and here.revision is not None else ""
    chosen = item(view, picture)
    return str(chosen.head) if chosen is not None and chosen.head is not None else ""


def _answer(view: View, prompt: Prompt, key: str) -> Step:
    if key == "escape":
        return replace(view, prompt=None), None
    if prompt.question == "mode":
        modes: dict[str, Mode] = {"d": "drain", "enter": "drain", "q": "quiesce"}
        if key in modes:
            prompt = Prompt("reason", mode=modes[key])
        return replace(view, prompt=prompt), None
    if key == "enter":
        return _done(view, prompt)
    text = prompt.text
    if key in ("backspace", "clear"):
        text = text[:-1] if key == "backspace" else ""
    elif len(key) == 1 and (prompt.question == "reason" or (key.isascii() and key.isdigit())):
        text = (text + key)[: LONGEST if prompt.question == "reason" else DIGITS]
    return replace(view, prompt=replace(prompt, text=text, wrong="")), None


def _done(view: View, prompt: Prompt) -> Step:
    text, closed = (prompt.text.strip() or prompt.usual), replace(view, prompt=None)
    if prompt.question == "reason":
        if not text:
            wrong = replace(prompt, wrong="everybody who waits will read why: a reason is wanted")
            return replace(view, prompt=wrong), None
        return closed, Pause(prompt.mode, text)
    if not text or int(text) == 0:
        return replace(view, prompt=replace(prompt, text="", wrong="the id of a revision is wanted")), None
    if prompt.question == "cancel":
        return closed, Cancel(int(text))
    return replace(closed, log=int(text), back=0, is_frozen=False), Follow(int(text))
