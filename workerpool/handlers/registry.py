"""Which handler performs which name.

Owns: the decorator, the loading of modules, the table, and the functions that agents
may be given. Invariant: registering a name twice for different
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
from types import MappingProxyType, ModuleType
from typing import Any, Literal, TypeVar

from workerpool.core.durations import parse_duration
from workerpool.core.retry import DEFAULT, Backoff
from workerpool.core.sizes import parse_size

Handler = Callable[..., Any]
Function = TypeVar("Function", bound=Handler)
AfterFailure = Literal["continue", "halt"]


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A handler with its limits; None: the revision's or the pool's."""

    name: str
    call: Callable[..., Any]
    timeout: timedelta | None = None
    max_attempts: int | None = None
    is_async: bool = False
    backoff: Backoff = DEFAULT
    after_failure: AfterFailure | None = None
    concurrency: int | None = None
    memory_limit: int | None = None
    output_limit: int | None = None


class HandlerTaken(Exception):
    """Two functions want the same name."""

    def __init__(self, name: str, holder: str, other: str) -> None:
        self.name = name
        super().__init__(f"handler {name!r} is {holder} already; {other} needs another name")


class HandlerModuleBroken(Exception):
    """A module of WORKERPOOL_HANDLERS, or a function of WORKERPOOL_AGENT_TOOLS, cannot be loaded."""

    def __init__(self, module: str, why: str, setting: str = "WORKERPOOL_HANDLERS") -> None:
        self.module, self.why = module, why
        super().__init__(f"{setting}: {module!r} cannot be loaded: {why}")


_HANDLERS: dict[str, HandlerSpec] = {}
_TOOLS: dict[str, Callable[..., Any]] = {}


def handler(
    name: str,
    *,
    timeout: float | str | timedelta | None = None,
    max_attempts: int | None = None,
    backoff: Backoff = DEFAULT,
    after_failure: AfterFailure | None = None,
    concurrency: int | None = None,
    memory_limit: int | str | None = None,
    output_limit: int | str | None = None,
) -> Callable[[Function], Function]:
    """Register the decorated function, ``def`` or ``async def``, as the handler *name*.

    *timeout* limits one attempt (seconds, ``'10m'``, or a timedelta); *max_attempts* counts the first try; *backoff*
    says how long a failed one waits; *after_failure* ``'halt'`` stops the item at a failed revision (None: as
    WORKERPOOL_AFTER_FAILURE says); *concurrency* limits how many run at once on all hosts; *memory_limit* (of the
    worker and its processes) and *output_limit* (of what one attempt prints) are bytes or ``'500MB'``. The function
    gets a ``Job`` and returns a JSON value. Raises ValueError for a bad argument, HandlerTaken for a name in use.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= 200:
        raise ValueError(f"a handler's name has 1 to 200 characters: {name!r}")
    for what, number in (("max_attempts", max_attempts), ("concurrency", concurrency)):
        if number is not None and number < 1:
            raise ValueError(f"handler {name!r}: {what} is {number}, at least 1 is needed")
    if after_failure not in (None, "continue", "halt"):
        raise ValueError(f"handler {name!r}: after_failure is {after_failure!r}, 'continue' or 'halt' is allowed")
    limit = _duration(name, timeout)
    memory, output = _size(name, "memory_limit", memory_limit), _size(name, "output_limit", output_limit)

    def register(function: Function) -> Function:
        is_async = inspect.iscoroutinefunction(function)
        waits = (backoff, after_failure, concurrency, memory, output)
        add(HandlerSpec(name, function, limit, max_attempts, is_async, *waits))
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


def _size(name: str, what: str, value: int | str | None) -> int | None:
    try:
        size = parse_size(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"handler {name!r}: {what}: {error}") from None
    if size is not None and size < 1:
        raise ValueError(f"handler {name!r}: {what} is {value!r}, more than 0 is needed")
    return size


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


def halting(otherwise: str) -> list[str]:
    """Return the handlers whose failed revision halts its item; *otherwise* is the pool's own choice."""
    return sorted(name for name, spec in _HANDLERS.items() if (spec.after_failure or otherwise) == "halt")


def limits() -> dict[str, int]:
    """Return the handlers of which only so many may run at once, on all hosts."""
    return {name: spec.concurrency for name, spec in sorted(_HANDLERS.items()) if spec.concurrency}


def attempts() -> dict[str, int]:
    """Return how often each handler that says so is tried."""
    return {name: spec.max_attempts for name, spec in sorted(_HANDLERS.items()) if spec.max_attempts}


def load(modules: tuple[str, ...]) -> None:
    """Import each module: a dotted name (the current directory is looked at too) or the path of a .py file.

    Raises HandlerModuleBroken with what went wrong; its cause holds the traceback.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            _import(module)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise HandlerModuleBroken(module, f"{type(error).__name__}: {error}") from error


def allow_tools(functions: tuple[str, ...]) -> None:
    """Import each function that agents may be given: ``module:function`` or ``file.py:function``.

    Its own name is the tool's. Raises HandlerModuleBroken with what went wrong, also where two have one name.
    """
    if functions and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for each in functions:
        module, _, name = each.rpartition(":")
        try:
            function = getattr(_import(module), name)
            if not callable(function):
                raise TypeError(f"{name} is a {type(function).__name__}, a function is wanted")
            if _TOOLS.setdefault(name, function) is not function:
                raise ValueError(f"there is a tool {name} already, of {_home(_TOOLS[name])}")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            why = f"{type(error).__name__}: {error}"
            raise HandlerModuleBroken(each, why, "WORKERPOOL_AGENT_TOOLS") from error


def tools() -> MappingProxyType[str, Callable[..., Any]]:
    """Return the functions that agents may be given, by name."""
    return MappingProxyType(_TOOLS)


def _import(module: str) -> ModuleType:
    if not module.endswith(".py"):
        return importlib.import_module(module)
    path = Path(module).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return importlib.import_module(path.stem)
