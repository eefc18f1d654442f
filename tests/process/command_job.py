"""A job without a database, for tests of commands, and short ways to write a command down."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workerpool.handlers.command_config import CommandSpec


class Token:
    """A cancellation token of its own."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.reason: str | None = None

    @property
    def cancelled(self) -> bool:
        return self.event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        return self.event.wait(timeout)


class Log:
    """Keeps what was logged; `on_line` hears of each line of output at once."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []
        self.on_line: Callable[[str], object] = str

    def info(self, message: str, **data: Any) -> None:
        self.entries.append(("info", message, data))
        if "stream" in data:
            self.on_line(message)

    def warning(self, message: str, **data: Any) -> None:
        self.entries.append(("warning", message, data))

    def lines(self, stream: str) -> list[str]:
        return [message for _, message, data in self.entries if data.get("stream") == stream]


@dataclass
class Job:
    """A job without a database."""

    payload: dict[str, Any] = field(default_factory=dict)
    base: object = None
    id: int = 42
    item_key: str = "page/1"
    attempt: int = 2
    fence: int = 77
    idempotency_key: str = "42:2"
    token: Token = field(default_factory=Token)
    log: Log = field(default_factory=Log)


def python(code: str, **options: Any) -> CommandSpec:
    """A command that is Python code."""
    return CommandSpec("probe", (sys.executable, "-c", code), **options)


def shell(script: str, **options: Any) -> CommandSpec:
    """A command that is a shell script; the shell is the spec's own, none is added."""
    return CommandSpec("probe", ("sh", "-c", script), **options)


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fails when the block takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds
