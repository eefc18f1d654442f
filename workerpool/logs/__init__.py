"""Owns the process's own log: its set-up, the form of its lines, and who may write them.

`events` is the catalogue, `writer` the place the lines go to. The execution log of revisions is not here: it is in the
database. Invariants: logging neither blocks nor kills the process that does it; no field can forge a line or move a
terminal's cursor; no known secret is in a line.
"""

import atexit
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeVar

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from workerpool.logs.events import EVENTS, UnknownEvent
from workerpool.logs.writer import BadLogFile, LogWriter

__all__ = ["EVENTS", "BadLogFile", "UnknownEvent", "configure", "dropped", "flush", "get", "reopen"]

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]
Answer = TypeVar("Answer")

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST: Final = 8000
# Shorter secrets would hide half of every line, and are no secrets.
_SHORTEST_SECRET: Final = 4
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROLS_OF_TRACEBACK: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_URL_PASSWORD: Final = re.compile(r"(://[^:/@\s\"]*:)[^@\s\"]*@")

_writer: LogWriter | None = None


def configure(
    level: Level = "info",
    format: Format = "auto",
    stream: TextIO | None = None,
    *,
    file: Path | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Set the log of this process up; called again, it replaces the former set-up.

    level: the least important events to write. format: auto is console when stream is a terminal, else JSON lines.
    stream: one with a descriptor; standard error when not given. file: append there instead.
    secrets: texts that no line may show. Raises BadLogFile.
    """
    global _writer
    target = stream if stream is not None else sys.stderr
    on_terminal = file is None and _is_terminal(target)
    console = format == "console" or (format == "auto" and on_terminal)
    render = _renderer(console, on_terminal, secrets)
    writer = LogWriter(file or _descriptor(target), lambda count: _notice(render, count))
    former, _writer = _writer, writer
    structlog.configure(
        processors=[_check_event, *_common(), render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )
    _listen_to_libraries(_LEVELS[level])
    if former is None:
        atexit.register(flush)
    else:
        former.close(timedelta(seconds=1))


def get(role: str, **fields: object) -> FilteringBoundLogger:
    """Return a logger of this process.

    role: manager, keeper, prepare, postgres, worker ...; fields: bound to every line (ids: slot, worker, revision).
    """
    logger: FilteringBoundLogger = structlog.get_logger(role=role, **fields)
    return logger


def reopen() -> None:
    """Open the log file again, after somebody renamed it; nothing happens without a log file."""
    if _writer is not None:
        _writer.reopen()


def flush(limit: timedelta = timedelta(seconds=1)) -> bool:
    """Wait at most limit until what was logged is written; False when it was not."""
    return _writer is None or _writer.flush(limit)


def dropped() -> int:
    """Count the lines that were lost since the last `configure`."""
    return 0 if _writer is None else _writer.dropped


class _Lines:
    """What structlog hands rendered lines to: the process's writer, whichever it is by now."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def msg(self, line: str) -> None:
        if _writer is not None:
            _writer.put(line)

    debug = info = warning = error = critical = exception = msg


class _FromLibraries(logging.Handler):
    """Turns what libraries log into events, so that every line of the log has one form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = max((known for known in _LEVELS.values() if known <= record.levelno), default=_LEVELS["debug"])
        try:
            message = record.getMessage()
        except Exception:  # a library's wrong format string is no reason to fail
            message = str(record.msg)
        logger = get("library", library=record.name)
        logger.log(level, "library.logged", message=message, exc_info=record.exc_info)


def _listen_to_libraries(level: int) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _FromLibraries):
            root.removeHandler(handler)
    root.addHandler(_FromLibraries(level=max(level, _LEVELS["warning"])))
    logging.captureWarnings(True)


def _common() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_pid,
        structlog.processors.format_exc_info,
        _shorten,
    ]


def _check_event(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    if fields.get("event") not in EVENTS and os.environ.get("WORKERPOOL_STRICT_EVENTS") == "1":
        raise UnknownEvent(str(fields.get("event")))
    return fields


def _add_pid(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    fields.setdefault("pid", os.getpid())
    return fields


def _shorten(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    for key, value in fields.items():
        if isinstance(value, str) and len(value) > _LONGEST:
            # The end of a traceback says more than its beginning.
            head, tail = value[: _LONGEST // 4], value[-_LONGEST * 3 // 4 :]
            fields[key] = f"{head} [{len(value) - _LONGEST} characters cut] {tail}"
    return fields


def _escape(fields: EventDict) -> EventDict:
    """Escape control characters for the console; JSON does so by itself."""
    clean: EventDict = {}
    for key, value in fields.items():
        controls = _CONTROLS_OF_TRACEBACK if key == "exception" else _CONTROLS
        clean[_CONTROLS.sub(_as_escape, str(key))] = (
            controls.sub(_as_escape, value) if isinstance(value, str) else value
        )
    return clean


def _as_escape(control: re.Match[str]) -> str:
    return f"\\u{ord(control[0]):04x}"


def _renderer(console: bool, colours: bool, secrets: Iterable[str]) -> Processor:
    hidden = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    # In JSON a secret with a quote or a letter outside ASCII is written differently.
    forms = {form for secret in hidden for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1])}
    longest_first = sorted(forms, key=len, reverse=True)
    draw = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)

    def render(logger: WrappedLogger, method: str, fields: EventDict) -> str:
        line = str(draw(logger, method, _escape(fields))) if console else _as_json(fields)
        for secret in longest_first:
            line = line.replace(secret, "***")
        return _URL_PASSWORD.sub(r"\1***@", line) if "://" in line else line

    return render


def _as_json(fields: EventDict) -> str:
    first = {key: fields.pop(key) for key in ("timestamp", "level", "event", "role") if key in fields}
    try:
        return _ENCODER.encode({**first, **fields})
    except (TypeError, ValueError, RecursionError):  # keys that are no text, or a value that holds itself
        return json.dumps({**first, **{str(key): _spoken(value) for key, value in fields.items()}})


def _spoken(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


#: Made once: json.dumps makes one for each call that has options.
_ENCODER: Final = json.JSONEncoder(default=_spoken)


def _notice(render: Processor, count: int) -> str:
    fields: EventDict = {"event": "log.dropped", "role": "log", "lines": count}
    for processor in _common():
        fields = _as_fields(processor(None, "warning", fields))
    return str(render(None, "warning", fields))


def _as_fields(value: Any) -> EventDict:
    fields: EventDict = value
    return fields


def _is_terminal(stream: TextIO | None) -> bool:
    return _safely(lambda: stream is not None and stream.isatty()) or False


def _descriptor(stream: TextIO | None) -> int | None:
    return None if stream is None else _safely(stream.fileno)


def _safely(ask: Callable[[], Answer]) -> Answer | None:
    try:
        return ask()
    except (OSError, ValueError):  # a closed stream, or one in memory
        return None
