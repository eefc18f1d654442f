"""A terminal for tests: a program runs in it as under a person's hands, and what is on its screen can be read.

It knows what a full-screen program sends, and no more: a sequence that it does not know fails the test.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from unicodedata import east_asian_width

from tests.acceptance.calling import LIMIT

KEYS = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "escape": "\x1b",
    "enter": "\r",
    "tab": "\t",
    "page up": "\x1b[5~",
    "end": "\x1b[F",
}
_SEQUENCE = re.compile(r"\x1b(?:\[(?P<parameters>[0-9;?]*)(?P<final>[A-Za-z])|(?P<other>[^\[]))", re.S)
Fact = TypeVar("Fact")


class Screen:
    """The cells of a terminal, filled by what a program writes."""

    def __init__(self, columns: int, lines: int) -> None:
        self.unknown: list[str] = []
        self.cut = ""
        """What was written beyond the right edge."""
        self.is_alternate, self.is_cursor_shown = False, True
        self._rest = ""
        self._resize(columns, lines)

    def _resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self._cells = [[" "] * columns for _ in range(lines)]
        self._row = self._column = 0

    def text(self) -> str:
        """What can be read."""
        return "\n".join("".join(line).rstrip() for line in self._cells)

    def feed(self, text: str) -> None:
        """Take what a program writes."""
        text, place = self._rest + text, 0
        self._rest = ""
        while place < len(text):
            if text[place] != "\x1b":
                self._put(text[place])
                place += 1
            elif found := _SEQUENCE.match(text, place):
                self._obey(found)
                place = found.end()
            else:
                self._rest = text[place:]
                assert len(self._rest) < 100, f"a sequence without an end: {self._rest!r}"
                return

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            if self._row == self.lines - 1:
                self._cells = [*self._cells[1:], [" "] * self.columns]
            self._row = min(self._row + 1, self.lines - 1)
        elif not character.isprintable():
            self.unknown.append(character)
        else:
            width = 2 if east_asian_width(character) in "WF" else 1
            if self._column + width > self.columns:
                self.cut += character
                return
            self._cells[self._row][self._column : self._column + width] = [character, *[""] * (width - 1)]
            self._column += width

    def _obey(self, sequence: re.Match[str]) -> None:
        numbers = [int(each) for each in (sequence["parameters"] or "").split(";") if each.isdigit()]
        match (sequence["final"], sequence["parameters"]):
            case ("m", _):
                pass
            case ("H", _):
                self._row, self._column = (numbers[0] - 1, numbers[1] - 1) if len(numbers) == 2 else (0, 0)
            case ("h" | "l", "?1049"):
                self.is_alternate = sequence["final"] == "h"
                self._resize(self.columns, self.lines)
            case ("h" | "l", "?25"):
                self.is_cursor_shown = sequence["final"] == "h"
            case ("J", "2"):
                self._resize(self.columns, self.lines)
            case ("K", "2"):
                self._cells[self._row] = [" "] * self.columns
            case ("A", _):
                self._row = max(0, self._row - (numbers or [1])[0])
            case _:
                self.unknown.append(sequence[0])

    def resize(self, columns: int, lines: int) -> None:
        """Become larger or smaller; what was there is gone."""
        self._resize(columns, lines)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(
        self, words: list[str], settings: dict[str, str], folder: Path, columns: int = 80, lines: int = 24
    ) -> None:
        self.screen = Screen(columns, lines)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.code: int | None = None
        self.is_stopped = False
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.execvpe(words[0], words, settings | {"TERM": "xterm-256color", "LANG": "C.UTF-8"})
        self._tell_size()
        self.mode_before = termios.tcgetattr(self.end)

    def _tell_size(self) -> None:
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", self.screen.lines, self.screen.columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size, as a person who pulls at its corner."""
        self.screen.resize(columns, lines)
        self._tell_size()

    def press(self, *keys: str) -> None:
        """Press keys: their names, or text to type."""
        for key in keys:
            os.write(self.end, KEYS.get(key, key).encode())
            if key == "escape":
                time.sleep(0.1)  # (a person's next key is no part of an escape's)

    def see(self) -> str:
        """Take what was written, and return what can be read."""
        while select.select([self.end], [], [], 0)[0]:
            try:
                data = os.read(self.end, 65536)
            except OSError:  # nobody is at the other side
                break
            if not data:
                break
            self.screen.feed(self._decoder.decode(data))
        return self.screen.text()

    def until(self, fact: Callable[[str], Fact], what: object = "") -> Fact:
        """Wait until *fact* is true of what can be read."""
        deadline = time.monotonic() + LIMIT
        while not (found := fact(self.see())):
            assert time.monotonic() < deadline, f"{what} not seen, but:\n{self.screen.text()}"
            assert not self.ended() or fact(self.see()), (
                f"it ended with {self.code}; {what} not seen, but:\n{self.screen.text()}"
            )
            time.sleep(0.02)
        assert not self.screen.unknown, self.screen.unknown
        return found

    def shows(self, *texts: str) -> str:
        """Wait until all of these can be read, and return everything that can."""
        return self.until(lambda seen: seen if all(text in seen for text in texts) else "", texts)

    def hides(self, *texts: str) -> str:
        """Wait until none of these can be read."""
        return self.until(lambda seen: seen if not any(text in seen for text in texts) else "", f"the end of {texts}")

    def ended(self) -> bool:
        """Tell whether the program has ended; its exit code is in `code` then."""
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if found and os.WIFSTOPPED(status):
                self.is_stopped = True
            elif found and os.WIFCONTINUED(status):
                self.is_stopped = False
            elif found:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def exit_code(self) -> int:
        """Wait for the end, and return the exit code."""
        deadline = time.monotonic() + LIMIT
        while not self.ended():
            assert time.monotonic() < deadline, f"it did not end:\n{self.see()}"
            self.see()
            time.sleep(0.02)
        self.see()
        assert self.code is not None
        return self.code

    def is_as_before(self) -> bool:
        """Tell whether the terminal is as it was: its mode, its screen, its cursor."""
        same = termios.tcgetattr(self.end) == self.mode_before
        return same and not self.screen.is_alternate and self.screen.is_cursor_shown

    def clear(self) -> None:
        """End the program if it has not ended, and close the terminal."""
        with suppress(ProcessLookupError, ChildProcessError):
            if not self.ended():
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        with suppress(OSError):
            os.close(self.end)
