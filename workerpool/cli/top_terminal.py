"""A terminal that gives single keys, and the signals that matter to who draws on it.

Owns: the terminal's mode, the bytes that keys send, and what signals say. Does not own: what is drawn or done.
Invariant: however a block of `Keyboard` ends, the terminal is as it was before; a signal only leaves a note.
"""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import sys
import termios
from contextlib import suppress
from types import FrameType
from typing import Any

#: What keys send beside their characters.
SEQUENCES = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down", "[C": "right", "OC": "right", "[D": "left", "OD": "left",
    "[5~": "page up", "[6~": "page down", "[H": "home", "OH": "home", "[1~": "home", "[F": "end", "OF": "end",
    "[4~": "end", "[Z": "back tab",
}  # fmt: skip
CONTROLS = {
    "\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x15": "clear",
}  # fmt: skip
_SEQUENCE = re.compile(r"\x1b(O.|\[[0-9;?]*[ -/]*[@-~])")
_BEGUN = re.compile(r"\x1b(O?|\[[0-9;?]*[ -/]*)")
#: Seconds within which the rest of a key's bytes come; an escape alone is the key itself.
REST = 0.05


def keys(text: str) -> tuple[list[str], str]:
    """Return the keys that *text* holds, and what may be the beginning of another one.

    A key is its character, or the name of one that has none.
    """
    found, place = [], 0
    while place < len(text):
        if text[place] != "\x1b":
            if name := CONTROLS.get(text[place], text[place] if text[place].isprintable() else ""):
                found.append(name)
            place += 1
        elif sequence := _SEQUENCE.match(text, place):
            if name := SEQUENCES.get(sequence[1], ""):
                found.append(name)
            place = sequence.end()
        elif _BEGUN.fullmatch(text, place):
            return found, text[place:]
        else:
            found.append("escape")
            place += 1
    return found, ""


class Keyboard:
    """The keys of the terminal at standard input, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self.descriptor = sys.stdin.fileno()
        self._before: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self.descriptor)
        mode = termios.tcgetattr(self.descriptor)
        mode[0] &= ~(termios.ICRNL | termios.INLCR)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, mode)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            with suppress(termios.error):  # the terminal was closed
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self._before)

    def read(self) -> list[str] | None:
        """Return the keys that were pressed; None: the terminal is gone. To be called when there is something."""
        text = self._more()
        if text is None:
            return None
        found, begun = keys(text)
        while begun:
            if not select.select([self.descriptor], [], [], REST)[0]:
                return [*found, "escape"]
            fresh, begun = keys(begun + (self._more() or " "))
            found += fresh
        return found

    def _more(self) -> str | None:
        """Return what was typed, as far as its characters are whole; None: the terminal is gone."""
        try:
            data = os.read(self.descriptor, 1024)
        except OSError:
            return None
        return self._decoder.decode(data) if data else None


class Bell:
    """Something that wakes who waits: a signal of *noted*, or another thread that rings.

    *noted*: signals that are noted in `signals`. One that was ignored before is left so (nohup).
    """

    def __init__(self, noted: tuple[signal.Signals, ...]) -> None:
        self._noted = noted
        self.signals: set[int] = set()
        self._before: dict[int, Any] = {}
        self.descriptor, self._writing = -1, -1

    def __enter__(self) -> Bell:
        self.descriptor, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in self._noted:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(-1)
        # (the descriptors stay: another thread may ring once more, and must not ring at somebody else's)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        self.signals.add(number)

    def ring(self) -> None:
        """Wake who waits; for any thread."""
        with suppress(OSError):  # full: it is awake anyhow
            os.write(self._writing, b"\0")

    def wait(self, descriptor: int, timeout: float) -> bool:
        """Wait for the bell, for something on *descriptor*, or for *timeout* seconds; tells whether there is something
        on it.
        """
        ready = select.select([self.descriptor, descriptor], [], [], timeout)[0]
        if self.descriptor in ready:
            with suppress(OSError):
                os.read(self.descriptor, 4096)
        return descriptor in ready


def stop() -> None:
    """Stop this process, as Ctrl-Z does by default, until somebody continues it."""
    os.kill(os.getpid(), signal.SIGSTOP)
