"""The thread of `top` that speaks to the database: it looks, follows a log, and does what was asked for.

Owns: the connection, the rhythm, and trying again. Does not own: what is seen (``top_picture``) or how it is shown.
Invariant: whatever happens below is told as news and never ends the program; what was asked for is done once, or it is
said that it was not.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from workerpool.api import holders
from workerpool.api.service import pool, revisions
from workerpool.cli.errors import EXIT_NO_DATABASE, EXIT_TIMED_OUT, explain
from workerpool.cli.options import session
from workerpool.cli.top_course import Course
from workerpool.cli.top_picture import Picture, look
from workerpool.cli.top_view import Act, Cancel, Follow, Pause, Quit, Resume
from workerpool.cli.watching import NewLines
from workerpool.config import Settings
from workerpool.core.durations import format_duration
from workerpool.core.wording import counted, safe

if TYPE_CHECKING:
    from workerpool.store.session import Row, Session

#: Seconds between two looks at a log, and before the database is tried again.
LOG_LOOK, AGAIN = 0.5, 1.0
#: How many lines of a log are kept, and how many columns the chart has at most.
LINES, COLUMNS = 1_000, 60


@dataclass(frozen=True, slots=True)
class Lines:
    """New lines of the log that is followed, and how far its revision is (None: there is none such)."""

    revision: int
    state: Row | None
    lines: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What became of something that was asked for."""

    text: str
    is_good: bool = True


@dataclass(frozen=True, slots=True)
class Away:
    """The database cannot be asked; tried again."""

    why: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A defect, or something that waiting does not mend."""

    error: Exception


News = Picture | Lines | Said | Away | Broken


class Looker(threading.Thread):
    """Looks each *interval* seconds; puts what it sees into `news`, and calls *ring* then."""

    def __init__(self, settings: Settings, interval: float, ring: Callable[[], None]) -> None:
        super().__init__(name="looker", daemon=True)
        self.news: SimpleQueue[News] = SimpleQueue()
        self._settings, self._interval, self._ring = settings, interval, ring
        self._asked: SimpleQueue[Act] = SimpleQueue()
        self._wake, self._is_leaving = threading.Event(), False
        self._opened: Session | None = None
        self._stack = ExitStack()
        self._course = Course(settings.heartbeat.total_seconds())
        self._log: NewLines | None = None
        self._followed: int | None = None
        self._kept: deque[Row] = deque(maxlen=LINES)

    def ask(self, act: Act) -> None:
        """Have something done; what became of it will be news."""
        self._asked.put(act)
        self._wake.set()

    def leave(self, patience: float) -> None:
        """End, and wait for it at most *patience* seconds: a database that hangs keeps nobody."""
        self._is_leaving = True
        self._wake.set()
        if self.is_alive():
            self.join(patience)

    def connect(self) -> Session:
        """Open the session, and return it. Raises what `options.session` raises."""
        with ExitStack() as stack:
            opened = stack.enter_context(session(self._settings, "top"))
            self._stack = stack.pop_all()
        self._opened = opened
        return opened

    def run(self) -> None:
        """Look until somebody says that it is enough."""
        while not self._is_leaving:
            try:
                self._watch(self._opened or self.connect())
            except Exception as error:
                known = explain(error)
                if known is None or known.exit_code not in (EXIT_NO_DATABASE, EXIT_TIMED_OUT):
                    self._tell(Broken(error))
                    return
                self._opened, self._log = None, None
                self._close()
                self._tell(Away(known.message))
                self._refuse_all(known.message)
                self._rest(time.monotonic() + AGAIN)
        self._close()

    def _close(self) -> None:
        try:
            self._stack.close()
        except Exception as error:  # of a connection that is gone
            if explain(error) is None:
                raise

    def _tell(self, news: News) -> None:
        self.news.put(news)
        self._ring()

    def _rest(self, until: float) -> None:
        self._wake.wait(max(0.0, until - time.monotonic()))
        self._wake.clear()

    def _watch(self, opened: Session) -> None:
        seen = read = -1e9
        while not self._is_leaving:
            acted = self._do_all(opened)
            now = time.monotonic()
            if acted or now - seen >= self._interval:
                seen = now
                self._tell(self._picture(opened))
            if self._followed is not None and (acted or now - read >= LOG_LOOK):
                read = now
                self._read(opened, self._followed)
            self._rest(min(seen + self._interval, read + LOG_LOOK if self._followed is not None else seen + 1e9))

    def _picture(self, opened: Session) -> Picture:
        found, now = look(opened, self._settings.lease), time.monotonic()
        self._course.note(now, {each.id: each.processed for each in found.workers})
        return replace(found, rate=self._course.rate(now), course=tuple(self._course.columns(now, COLUMNS)))

    def _read(self, opened: Session, revision: int) -> None:
        """Tell what is new in the log; the state is asked for first, so that an end is not seen before its lines."""
        state = revisions.state(opened, revision)
        if self._log is None:
            if not self._kept:
                fresh = opened.rows("log_tail", revision=revision, since=None, how_many=LINES)
                self._log = NewLines(opened, revision, fresh)
            else:
                self._log = NewLines(opened, revision, list(self._kept))
                fresh = self._log.look()
        else:
            fresh = self._log.look()
        self._kept.extend(fresh)
        self._tell(Lines(revision, state, tuple(fresh)))

    def _next(self) -> Act | None:
        try:
            return self._asked.get_nowait()
        except Empty:
            return None

    def _do_all(self, opened: Session) -> bool:
        """Do what was asked for; tells whether there was anything."""
        acted = False
        while (act := self._next()) is not None:
            acted = True
            if isinstance(act, Follow):
                self._followed, self._log = act.revision, None
                self._kept.clear()
                continue
            try:
                self._tell(do(opened, act, self._settings))
            except Exception as error:
                known = explain(error)
                if known is None:
                    raise
                if known.exit_code == EXIT_NO_DATABASE:
                    self._tell(Said("the database went away: it is not known whether that was done", False))
                    raise
                self._tell(Said(known.message + (f"; {known.hint}" if known.hint else ""), False))
        return acted

    def _refuse_all(self, why: str) -> None:
        while (act := self._next()) is not None:
            if isinstance(act, Follow):
                self._followed = act.revision
                self._kept.clear()
            else:
                self._tell(Said(f"nothing was done: {why}", False))


def do(opened: Session, act: Act, settings: Settings) -> Said:
    """Do what was asked for, and return what became of it. Raises what the store raises."""
    from workerpool.store.changing import actor

    who = actor()
    match act:
        case Pause(mode, reason):
            version = pool.pause(opened, mode, reason, who)
            return Said(f"paused ({mode}): {safe(reason)}; version {version}")
        case Resume():
            return _resumed(*pool.lift(opened, "", who))
        case Cancel(revision):
            told = revisions.cancel_all(opened, [revision], who)[0]
            return Said(revisions.sentence(told, format_duration(settings.cancel_grace)), told.answer in revisions.DONE)
        case Follow() | Quit():
            raise AssertionError(f"{act} is not done by the database")


def _resumed(lifted: int, left: list[Row]) -> Said:
    others = "; ".join(holders.sentence(each) for each in left)
    lifting = f"; `{holders.lifting(left)}` takes {'them' if len(left) > 1 else 'it'} away" if left else ""
    if not lifted:
        return Said(f"there is no pause of yours; in force: {others}{lifting}" if left else "nothing is paused", False)
    told = f"{counted(lifted, 'pause')} taken away; "
    return Said(told + (f"still paused: {others}{lifting}" if left else "the pool goes on"))
