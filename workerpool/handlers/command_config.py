"""What an operator allows to run: command lines from the environment and the file of named commands.

Owns the reading of `WORKERPOOL_COMMAND` and of the file `WORKERPOOL_COMMANDS`. It starts nothing and looks at no
program: that a program exists is `doctor`'s question and `command_environment.locate_program`'s.

Invariant: a `CommandSpec` is complete and fixed before the first revision is claimed. Nothing of a row ever becomes
part of an argument vector, so a payload can neither inject a shell word nor an option.
"""

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from workerpool.core.durations import ALLOWED, parse_duration
from workerpool.core.sizes import parse_size

KIBIBYTE = 1024
DEFAULT_MAX_OUTPUT = 1024 * KIBIBYTE
DEFAULT_GRACE = timedelta(seconds=5)
OUTPUT_BOUNDS = (KIBIBYTE, 64 * 1024 * KIBIBYTE)

#: What a command reads: the payload as JSON, or the prompt that it means.
Stdin = Literal["payload", "prompt"]
_COMMAND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_KEYS = ("argv", "stdin", "environment", "variables", "timeout", "grace", "max_output", "output_limit", "directory")
STDIN: tuple[Stdin, ...] = ("payload", "prompt")
RESERVED_PREFIX = "WORKERPOOL_"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One command that revisions may run.

    `stdin` is what it reads: the payload as JSON, or the prompt that the payload means.
    `environment` names what the command inherits beside the usual few (`NAME`, or `PREFIX*`); `variables` are set to
    fixed values. `timeout` is None when only the revision's own limit holds. `max_output` is bytes kept of each of
    stdout and stderr, half from the beginning and half from the end; `output_limit` is bytes of both together beyond
    which the command is ended, None to let it print. `grace` is the time between TERM and KILL.
    `directory` is None for the directory in which the daemon was started.
    """

    name: str
    argv: tuple[str, ...]
    environment: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    timeout: timedelta | None = None
    max_output: int = DEFAULT_MAX_OUTPUT
    output_limit: int | None = None
    grace: timedelta = DEFAULT_GRACE
    directory: str | None = None
    stdin: Stdin = "payload"


class InvalidCommand(ValueError):
    """A command line or the file of commands cannot be used; the program does not start with it."""

    def __init__(self, where: str, problem: str, allowed: str) -> None:
        super().__init__(f"{where}: {problem}; allowed: {allowed}")
        self.where = where
        self.problem = problem
        self.allowed = allowed


def parse_command_line(text: str, *, name: str = "default", where: str = "WORKERPOOL_COMMAND") -> CommandSpec:
    """Split one command line into words, by a shell's quoting rules but with no shell.

    `name` is what messages and logs call it, `where` the setting that holds `text`. Raises InvalidCommand.
    """
    allowed = "a program and its arguments, such as: claude -p"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidCommand(where, f"{text!r} cannot be split into words ({error})", allowed) from None
    if not words or not words[0]:
        raise InvalidCommand(where, "the command line is empty", allowed)
    if any("\0" in word for word in words):
        raise InvalidCommand(where, "the command line contains a NUL character", allowed)
    if _ASSIGNMENT.fullmatch(words[0]):
        problem = f"it starts with the assignment {words[0].split('=')[0]}=, which only a shell understands"
        raise InvalidCommand(where, problem, f"{allowed}; variables are given in the file of WORKERPOOL_COMMANDS")
    return CommandSpec(name=name, argv=tuple(words))


def load_commands(path: str | Path) -> dict[str, CommandSpec]:
    """Read the TOML file of named commands, one table `[commands.NAME]` each.

    A relative `directory` is relative to the file. Raises InvalidCommand for everything it does not understand.
    """
    file = Path(path)
    where = f"WORKERPOOL_COMMANDS file {file}"
    try:
        document = tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InvalidCommand(where, f"it cannot be read ({error.strerror})", "a readable TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidCommand(
            where, f"it is not TOML ({error})", "TOML in UTF-8, one table [commands.NAME] each"
        ) from None
    for key in document:
        if key != "commands":
            raise InvalidCommand(where, f"key {key!r} is not known", "only tables [commands.NAME]")
    tables = document.get("commands")
    if not isinstance(tables, dict) or not tables:
        raise InvalidCommand(where, "it has no commands", "at least one table [commands.NAME] with argv")
    return {name: _read_table(file, name, table) for name, table in tables.items()}


def _read_table(file: Path, name: str, table: object) -> CommandSpec:
    where = f"WORKERPOOL_COMMANDS file {file}, [commands.{name}]"
    if not _COMMAND_NAME.fullmatch(name):
        raise InvalidCommand(where, f"the name {name!r} is not usable", "up to 64 letters, digits, '_', '-' and '.'")
    if not isinstance(table, dict):
        raise InvalidCommand(where, "it is not a table", f"a table with the keys {', '.join(_KEYS)}")
    for key in table:
        if key not in _KEYS:
            raise InvalidCommand(where, f"key {key!r} is not known", ", ".join(_KEYS))
    timeout = _read_duration(where, table, "timeout")
    if timeout is not None and timeout <= timedelta(0):
        raise InvalidCommand(f"{where} timeout", f"{table['timeout']!r} is no time at all", "more than zero")
    grace = _read_duration(where, table, "grace")
    return CommandSpec(
        name=name,
        argv=_read_argv(where, table),
        environment=_read_environment(where, table),
        variables=_read_variables(where, table),
        timeout=timeout,
        grace=DEFAULT_GRACE if grace is None else grace,
        max_output=_read_max_output(where, table),
        output_limit=_read_output_limit(where, table),
        directory=_read_directory(where, table, file),
        stdin=_read_stdin(where, table),
    )


def _read_argv(where: str, table: Mapping[str, object]) -> tuple[str, ...]:
    where, allowed = f"{where} argv", 'a list of words, such as ["python3", "edit.py"]; the first is the program'
    words = table.get("argv")
    if words is None:
        raise InvalidCommand(where, "it is missing", allowed)
    if not isinstance(words, list) or not words or not words[0]:
        raise InvalidCommand(where, f"{words!r} is not a command", allowed)
    for word in words:
        if not isinstance(word, str) or "\0" in word:
            raise InvalidCommand(where, f"{word!r} is not a word", allowed)
    return tuple(words)


def _read_stdin(where: str, table: Mapping[str, object]) -> Stdin:
    value = table.get("stdin", "payload")
    for known in STDIN:
        if value == known:
            return known
    raise InvalidCommand(f"{where} stdin", f"{value!r} is nothing to read", " or ".join(STDIN))


def _read_environment(where: str, table: Mapping[str, object]) -> tuple[str, ...]:
    names = table.get("environment", [])
    where, allowed = f"{where} environment", 'a list of names, such as ["ANTHROPIC_API_KEY", "GIT_*"]'
    if not isinstance(names, list):
        raise InvalidCommand(where, f"{names!r} is not a list", allowed)
    for name in names:
        if not isinstance(name, str) or not _PATTERN.fullmatch(name):
            raise InvalidCommand(where, f"{name!r} is not the name of a variable", allowed)
        _refuse_reserved(where, name)
    return tuple(names)


def _read_variables(where: str, table: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    variables = table.get("variables", {})
    where, allowed = f"{where} variables", 'a table of texts, such as { LANG = "C.UTF-8" }'
    if not isinstance(variables, dict):
        raise InvalidCommand(where, f"{variables!r} is not a table", allowed)
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidCommand(where, f"{name!r} is not the name of a variable", allowed)
        if not isinstance(value, str) or "\0" in value:
            raise InvalidCommand(where, f"the value of {name} is not a text without NUL", allowed)
        _refuse_reserved(where, name)
    return tuple(variables.items())


def _refuse_reserved(where: str, name: str) -> None:
    # The daemon's own settings hold the database's address and tokens: no list may hand them to a command.
    if name.upper().startswith(RESERVED_PREFIX):
        raise InvalidCommand(where, f"{name!r} is one of the daemon's own", f"any name not beginning {RESERVED_PREFIX}")


def _read_duration(where: str, table: Mapping[str, object], key: str) -> timedelta | None:
    value = table.get(key)
    if value is None:
        return None
    try:
        return parse_duration("" if isinstance(value, bool) else str(value))
    except ValueError:
        raise InvalidCommand(f"{where} {key}", f"{value!r} is not a duration", ALLOWED) from None


def _read_max_output(where: str, table: Mapping[str, object]) -> int:
    value = table.get("max_output", DEFAULT_MAX_OUTPUT)
    where, (lowest, highest) = f"{where} max_output", OUTPUT_BOUNDS
    allowed = "1KiB to 64MiB, such as 65536, 64KiB or 1MiB"
    size = _read_size(where, value, allowed)
    if not lowest <= size <= highest:
        raise InvalidCommand(where, f"{value!r} is out of bounds", allowed)
    return size


def _read_output_limit(where: str, table: Mapping[str, object]) -> int | None:
    value = table.get("output_limit")
    if value is None:
        return None
    where, allowed = f"{where} output_limit", "more than 0, such as 65536, 100MB or 1GiB"
    size = _read_size(where, value, allowed)
    if size < 1:
        raise InvalidCommand(where, f"{value!r} lets it print nothing", allowed)
    return size


def _read_size(where: str, value: object, allowed: str) -> int:
    try:
        return parse_size("" if isinstance(value, bool) else str(value))
    except ValueError:
        raise InvalidCommand(where, f"{value!r} is not a size", allowed) from None


def _read_directory(where: str, table: Mapping[str, object], file: Path) -> str | None:
    value = table.get("directory")
    if value is None:
        return None
    directory = file.absolute().parent / value if isinstance(value, str) and value and "\0" not in value else None
    if directory is None or not directory.is_dir():
        raise InvalidCommand(f"{where} directory", f"{value!r} is not a directory", "an existing directory")
    return str(directory)
