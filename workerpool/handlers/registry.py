"""Which handler performs which name.

Owns: the decorator, the loading of modules, and the table. Invariant: registering a name twice for different
functions is refused.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from workerpool.core.durations import parse_duration

Handler = Callable[..., Any]
Function = TypeVar("Function", bound=Handler)


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A handler with its limits; None: the revision's or the pool's."""

    name: str
    call: Callable[..., Any]
    timeout: timedelta | None = None
    max_attempts: int | None = None
    is_async: bool = False


class HandlerTaken(Exception):
    """Two functions want the same name."""

    def __init__(self, name: str, holder: str, other: str) -> None:
        self.name = name
        super().__init__(f"handler {name!r} is {holder} already; {other} needs another name")


class HandlerModuleBroken(Exception):
    """A module of WORKERPOOL_HANDLERS cannot be loaded."""

    def __init__(self, module: str, why: str) -> None:
        self.module, self.why = module, why
        super().__init__(f"WORKERPOOL_HANDLERS: {module!r} cannot be loaded: {why}")


_HANDLERS: dict[str, HandlerSpec] = {}


def handler(
    name: str, *, timeout: float | str | timedelta | None = None, max_attempts: int | None = None
) -> Callable[[Function], Function]:
    """Register the decorated function, ``def`` or ``async def``, as the handler *name*.

    *timeout* limits one attempt (seconds, ``'10m'``, or a timedelta); *max_attempts* counts the first try. The
    function gets a
    ``Job`` and returns a JSON value. Raises ValueError for a bad argument, HandlerTaken for a name in use.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= 200:
        raise ValueError(f"a handler's name has 1 to 200 characters: {name!r}")
    if max_attempts is not None and max_attempts < 1:
        raise ValueError(f"handler {name!r}: max_attempts is {max_attempts}, at least 1 is needed")
    limit = _duration(name, timeout)

    def register(function: Function) -> Function:
        add(HandlerSpec(name, function, limit, max_attempts, inspect.iscoroutinefunction(function)))
        return function

    return register


def _duration(name: str, value: float | str | timedelta | None) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        limit = value
    else:
        limit = parse_duration(value) if isinstance(value, str) else timedelta(seconds=value)
    if limit is not None and limit <= timedelta(0):
        raise ValueError(f"handler {name!r}: timeout is {value!r}, more than 0 is needed")
    return limit


def add(spec: HandlerSpec) -> None:
    """Put *spec* into the table; the same function again (a module imported twice) is no conflict."""
    there = _HANDLERS.get(spec.name)
    if there is not None and _home(there.call) != _home(spec.call):
        raise HandlerTaken(spec.name, _home(there.call), _home(spec.call))
    _HANDLERS[spec.name] = spec


def _home(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


def known() -> MappingProxyType[str, HandlerSpec]:
    """Return every registered handler by name."""
    return MappingProxyType(_HANDLERS)


def load(modules: tuple[str, ...]) -> None:
    """Import each module: a dotted name (the current directory is looked at too) or the path of a .py file.

    Raises HandlerModuleBroken with what went wrong; its cause holds the traceback.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            if module.endswith(".py"):
                _import_file(Path(module).resolve())
            else:
                importlib.import_module(module)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise HandlerModuleBroken(module, f"{type(error).__name__}: {error}") from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    importlib.import_module(path.stem)
