"""What `top` decides by itself: what keys mean, how rates are taken, and that every size of terminal is drawn on."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from workerpool.cli import top_drawing, top_panels
from workerpool.cli.top_course import Course
from workerpool.cli.top_drawing import Scene
from workerpool.cli.top_looker import Said
from workerpool.cli.top_picture import COUNTED, MOST, Item, Picture, Worker, badge
from workerpool.cli.top_terminal import keys
from workerpool.cli.top_view import Act, Cancel, Follow, Pause, Quit, Resume, View, press

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
#: A text that a terminal would obey.
HOSTILE = "\x1b]0;title\x07\x1b[2J\r\n\tend\x9b5m"


def worker(number: int, **more: Any) -> Worker:
    """A worker of the third generation of its slot."""
    facts: dict[str, Any] = {
        "id": f"web1/4711-c0ffee/W{number}.3", "place": f"web1/4711-c0ffee/W{number}", "host": "web1",
        "slot": f"W{number}", "pid": 4000 + number, "state": "busy", "revision": 10 + number, "item": f"page {number}",
        "step": "Reading", "percent": 40.0, "cancelling": False, "running_for": 3.0, "memory": 46_000_000,
        "restarts": 0, "processed": 7, "age": 90.0, "handlers": ("edit",),
    }  # fmt: skip
    return Worker(**facts | more)


def picture(**more: Any) -> Picture:
    """A pool with two workers and two items."""
    counts = {"pending": 3, "retrying": 0, "scheduled": 0, "processing": 2, "held": 0, "stale": 0, "halted": 0}
    facts: dict[str, Any] = {
        "at": NOW, "badge": badge(None), "paused": False, "mode": None, "version": 1, "counts": counts,
        "latest": {"completed": 3, "failed": 1}, "pauses": (), "safety": None,
        "workers": (worker(1), worker(2)),
        "items": (Item("page 1", 2, False, 11, True, "runs on W1"), Item("page 9", 1, False, 19, False, "waits")),
        "events": (), "rate": 2.0, "course": (0.0, 1.0, 4.0),
    }  # fmt: skip
    return Picture(**facts | more)


def pressed(*some: str, view: View | None = None, seen: Picture | None = None) -> tuple[View, list[Act]]:
    """Press keys one after the other; return the view then, and everything that was to be done."""
    view, acts = view or View(), []
    for key in some:
        view, act = press(view, key, seen or picture())
        acts += [act] if act is not None else []
    return view, acts


@pytest.mark.parametrize(
    ("typed", "found", "rest"),
    [
        ("qé日", ["q", "é", "日"], ""),
        ("\t\r\x7f\x15", ["tab", "enter", "backspace", "clear"], ""),
        ("\x1b[A\x1bOB\x1b[5~\x1b[Z", ["up", "down", "page up", "back tab"], ""),
        ("\x1b[200~x\x1b[1;5C", ["x"], ""),
        ("\x1b\x1b[A", ["escape", "up"], ""),
        ("\x1bq", ["escape", "q"], ""),
        ("a\x1b", ["a"], "\x1b"),
        ("a\x1b[1;", ["a"], "\x1b[1;"),
        ("\x00\x01", [], ""),
    ],
)
def test_bytes_of_a_terminal_are_keys(typed: str, found: list[str], rest: str) -> None:
    """A key is its character or its name; what may be the beginning of one is kept, what nobody knows is left out."""
    assert keys(typed) == (found, rest)


def test_a_pause_is_asked_for_with_mode_and_reason() -> None:
    """Nothing is done before both are given; Esc leaves all as it was; the reason is wanted."""
    view, acts = pressed("p", "q", "enter")
    assert acts == []
    assert view.prompt is not None
    assert "a reason is wanted" in view.prompt.wrong
    view, acts = pressed(*"dis", "backspace", "k", " ", "q", "enter", view=view)
    assert acts == [Pause("quiesce", "dik q")]
    assert view == View()
    assert pressed("p", "enter", *"x", "enter")[1] == [Pause("drain", "x")]
    assert pressed("p", "d", *"x", "escape", "p", "escape") == (View(), [])
    assert pressed("r")[1] == [Resume()]


def test_the_selected_revision_is_what_an_empty_answer_means() -> None:
    """Of the worker, of the item; another may be typed; letters are no ids; where there is none one is wanted."""
    assert pressed("c", "enter")[1] == [Cancel(11)]
    assert pressed("down", "c", "enter")[1] == [Cancel(12)]
    assert pressed("down", "down", "page down", "up", "c", "enter")[1] == [Cancel(11)]
    assert pressed("tab", "end", "c", "enter")[1] == [Cancel(19)]
    assert pressed("c", "4", "x", "2", "enter")[1] == [Cancel(42)]
    idle = picture(workers=(worker(1, revision=None),), items=())
    view, acts = pressed("c", "enter", seen=idle)
    assert acts == []
    assert view.prompt is not None
    assert "is wanted" in view.prompt.wrong
    assert pressed("tab", "down", "l", "enter", "5", "enter", seen=idle)[1] == [Follow(5)]


def test_a_log_is_followed_and_left() -> None:
    """Esc leads back and ends the following; q leaves the program; the pool's keys do nothing there."""
    view, acts = pressed("l", "enter")
    assert (view.log, acts) == (11, [Follow(11)])
    assert pressed("p", "r", "c", view=view)[1] == []
    assert pressed("up", "page up", "down", view=view)[0].back == 10
    assert pressed("escape", view=view) == (View(), [Follow(None)])
    assert pressed("q", view=view)[1] == [Quit()]


def test_the_selection_stays_with_its_place() -> None:
    """Another process in the slot is selected as the one before; what is gone gives way to the first."""
    view, _ = pressed("down")
    restarted = picture(workers=(worker(1), worker(2, id="web1/4711-c0ffee/W2.4", revision=99)))
    assert pressed("c", "enter", view=view, seen=restarted)[1] == [Cancel(99)]
    assert pressed("c", "enter", view=view, seen=picture(workers=(worker(1),)))[1] == [Cancel(11)]


def test_help_and_freezing_change_nothing_else() -> None:
    """Any key leads back from the help, and does nothing else; q leaves from there too."""
    assert pressed("?", "p") == (View(), [])
    assert pressed("?", "q")[1] == [Quit()]
    assert pressed(" ")[0].is_frozen
    assert pressed(" ", " ") == (View(), [])


def test_what_heartbeats_tell_is_spread_over_their_time() -> None:
    """Ten a second are ten a second although they are told each ten seconds; nothing is counted twice, a worker that
    has gone takes nothing away, and who was there before `top` counts from then on.
    """
    course = Course(10.0)
    for second in range(41):
        counts = {"old": 5_000 + 100 * (second // 10)}
        if second >= 20:
            counts["young"] = 50 * (second // 10 - 1)
        course.note(100.0 + second, counts)
        if second == 1:
            assert course.rate(101.0) is None
    assert course.rate(140.0) == pytest.approx(15.0)
    columns = course.columns(140.0, 60)
    assert len(columns) == 20
    assert sum(columns) * 2 == pytest.approx(400 + 150)
    assert columns[0] == pytest.approx(10.0)
    course.note(141.0, {})
    assert course.rate(141.0) == pytest.approx(15.0)
    course.note(200.0, {})
    assert course.rate(200.0) == 0.0


def drawn(scene: Scene, columns: int, lines: int) -> list[str]:
    """The lines of the screen for a terminal of this size, without colours."""
    file = io.StringIO()
    console = Console(
        file=file, width=columns, height=lines, force_terminal=True, color_system=None, legacy_windows=False
    )
    console.print(top_drawing.screen(scene, console), height=lines, crop=True, end="")
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).split("\n")


PAUSE = {
    "scope": "all", "mode": "quiesce", "reason": HOSTILE, "actor": HOSTILE, "holder": HOSTILE, "age": 3.0,
    "until": None,
}  # fmt: skip
EVENT = {
    "created_at": NOW, "control": "pool", "action": HOSTILE, "mode": HOSTILE, "target": HOSTILE, "reason": HOSTILE,
    "actor": HOSTILE,
}  # fmt: skip
LINE = {
    "id": 1, "revision_id": 11, "attempt": 1, "at": NOW, "level": "info", "message": HOSTILE,
    "data": {HOSTILE: HOSTILE, "list": [HOSTILE]},
}  # fmt: skip
STATE = {
    "id": 11, "item_key": HOSTILE, "status": "processing", "attempt": 1, "worker_id": HOSTILE, "step": HOSTILE,
    "percent": 3.0, "error_kind": None, "error_message": None, "started_at": NOW, "completed_at": None,
}  # fmt: skip
ENDED = STATE | {"status": "failed", "error_kind": "error", "error_message": HOSTILE, "completed_at": NOW}


def hostile() -> Picture:
    """A pool in which every text wants to command the terminal."""
    bad = worker(1, id=HOSTILE, host=HOSTILE, slot=HOSTILE, state=HOSTILE, item=HOSTILE, step=HOSTILE)
    return picture(
        badge=badge("quiesce"), paused=True, mode="quiesce", pauses=(PAUSE, PAUSE, PAUSE, PAUSE), safety="2 running",
        workers=(bad, worker(2, cancelling=True), *(worker(number) for number in range(3, 30))),
        items=(
            Item(HOSTILE, 200, True, 11, True, HOSTILE),
            *(Item(f"日本語 {number}", 1, False, number, False, "w" * 300) for number in range(39)),
        ),
        events=(EVENT,) * 8, counts=dict.fromkeys(COUNTED, MOST + 1),
    )  # fmt: skip


SCENES = {
    "nothing yet": Scene(View()),
    "away at once": Scene(View(), away=HOSTILE),
    "workers": Scene(View(), hostile(), where=HOSTILE),
    "away": Scene(View(is_frozen=True), hostile(), away=HOSTILE),
    "items": Scene(View(panel="items"), hostile(), said=Said(HOSTILE * 30, False)),
    "empty": Scene(View(panel="items"), picture(workers=(), items=(), course=(), rate=None)),
    "mode": Scene(pressed("p")[0], hostile()),
    "reason": Scene(pressed("p", "q", *"because of the disk " * 15)[0], hostile()),
    "no reason": Scene(pressed("p", "q", "enter")[0], hostile()),
    "cancel": Scene(pressed("c")[0], hostile()),
    "help": Scene(View(is_helping=True), hostile()),
    "log": Scene(View(log=11), hostile(), log=(LINE,) * 100, log_state=STATE, is_log_read=True),
    "log of the past": Scene(View(log=11, back=40), log=(LINE,) * 100, log_state=ENDED, is_log_read=True, away=HOSTILE),
    "log of nothing": Scene(View(log=11), log_state=None, is_log_read=True),
    "log not read": Scene(View(log=11)),
}


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (60, 14), (80, 24), (81, 25), (132, 43), (250, 70)])
@pytest.mark.parametrize("name", SCENES)
def test_every_scene_fits_every_terminal(name: str, size: tuple[int, int]) -> None:
    """Not a line too many or too long, and no text of the queue is sent as it is."""
    columns, lines = size
    found = drawn(SCENES[name], columns, lines)
    assert len([line for line in found if line.strip()]) <= lines
    assert len(found) <= lines + 1
    assert max(Console().measure(line).maximum for line in found) <= columns
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "\n".join(found))


def test_what_matters_is_there_at_80_by_24() -> None:
    """The badge, the counts with their bound, workers, items, keys; a question and its answer are whole."""
    seen = "\n".join(drawn(SCENES["workers"], 80, 24))
    for text in (
        "Workers: Paused (Quiesce)",
        "10,000+ pending",
        "200+",
        "q quit",
        "? help",
        "Space freeze",
    ):
        assert text in seen
    assert "asked to stop" in "\n".join(drawn(SCENES["workers"], 132, 43))
    assert "why? because of the disk" in (seen := "\n".join(drawn(SCENES["reason"], 80, 24)))
    assert " ".join(seen.split()).count("because of the disk") == 15
    assert "any key leads back" in "\n".join(drawn(SCENES["help"], 80, 24))
    assert "no worker is alive" in "\n".join(drawn(SCENES["empty"], 80, 24))
    assert "nothing waits, nothing runs" in "\n".join(drawn(SCENES["empty"], 80, 24))


def test_the_page_with_the_selected_row_is_shown() -> None:
    """Whatever is selected can be seen."""
    for number in range(29):
        view = View(worker=f"web1/4711-c0ffee/W{number + 1}")
        many = picture(workers=tuple(worker(each) for each in range(1, 30)))
        assert f" {4001 + number} " in "\n".join(drawn(Scene(view, many), 80, 24))


def test_a_log_can_be_scrolled_to_its_first_line() -> None:
    """And no further than that; the newest line is the last one where nobody scrolls."""
    log = tuple(
        LINE | {"id": n, "message": f"line {n} " + "x" * 100, "at": NOW + timedelta(seconds=n)} for n in range(50)
    )
    scene = Scene(View(log=11), log=log, log_state=STATE, is_log_read=True)
    assert "line 49 " in "\n".join(drawn(scene, 80, 24))
    console = Console(width=80, height=24, file=io.StringIO())
    back = top_drawing.furthest(scene, console)
    seen = drawn(replace(scene, view=View(log=11, back=back)), 80, 24)
    assert "line 0 " in seen[1]
    assert "line 49 " not in "\n".join(seen)


def test_figures_are_short_and_say_their_bound() -> None:
    """As they stand in the columns."""
    assert [top_panels.figure(count) for count in (0, 9_999, 10_000, 10_001)] == ["0", "9,999", "10,000", "10,000+"]
    assert [top_panels.memory(count) for count in (None, 46_000_000, 20 * 2**30)] == ["", "44M", "20G"]
    assert [top_panels.short(age) for age in (0.4, 100, 130, 7_300, 200_000)] == ["0s", "100s", "2m", "2h", "2d"]
