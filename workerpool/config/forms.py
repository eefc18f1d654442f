"""Owns how the values of settings are written: addresses, sizes, lists, paths, command lines, database addresses.

It does not own which settings there are. Invariant: `mask_url` shows no password of any address that can be used.
"""

import ipaddress
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import unquote

from pydantic import BeforeValidator, SecretStr

from workerpool.core.durations import format_duration, parse_duration
from workerpool.core.sizes import parse_size

URL_FORMS: Final = "postgresql://USER:PASSWORD@HOST:PORT/NAME (hosts may be several, with commas), or key=value pairs"
SCHEMA_FORMS: Final = "1 to 63 letters, digits, _ or -, beginning with a letter or _, and not with pg_"
ADDRESS_FORMS: Final = "HOST:PORT, or a port from 1 to 65535"

# Greedy on purpose: an address that is written wrongly hides too much of itself, not too little.
_PASSWORDS: Final = re.compile(
    r"(?P<before>://[^:/?]*:|^(?!\w+://)[^:/=\s]*:)(?P<url>.*)(?=@)"
    r"|(?P<key>password\s*=\s*)(?P<pair>'(?:[^'\\]|\\.)*'|[^\s&]+)"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or to send: a host name or IP address, and a port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(text: str) -> Address:
    form = re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]+)):)?([0-9]{1,5})", text.strip())
    if form is None or not 1 <= int(form[3]) <= 65535:
        raise ValueError("no address")
    return Address(form[1] or form[2] or "127.0.0.1", int(form[3]))


def _modules(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    dotted = [name for name in names if not name.endswith(".py")]
    if not all(part.isidentifier() for name in dotted for part in name.split(".")):
        raise ValueError("no module names")
    return tuple(names)


def _functions(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        module, _, function = name.partition(":")
        if not function.isidentifier() or not (module.endswith(".py") or _modules(module)):
            raise ValueError("no function of a module")
    return names


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) for name in names):
        raise ValueError("no host names")
    return names


def _database_url(text: str) -> str:
    if not re.match(r"postgres(ql)?://|\s*\w+\s*=", text) or "\0" in text:
        raise ValueError("no address of a PostgreSQL")
    return text


def _schema(text: str) -> str:
    if not re.fullmatch(r"(?!pg_)[A-Za-z_][A-Za-z0-9_-]{0,62}", text):
        raise ValueError("no name of a schema")
    return text


def _command(text: str) -> str:
    if not shlex.split(text):
        raise ValueError("no command line")
    return text


def parse_path(text: str) -> Path:
    """Read a path; ~ is the user's home, and a relative path begins at the current folder. Raises ValueError."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("no such user's home") from None


def _file(text: str) -> Path:
    path = parse_path(text)
    try:
        is_file = path.is_file()
    except OSError:  # such as a name that is too long
        is_file = False
    if not is_file:
        raise ValueError("no file")
    return path


def mask_url(text: str) -> str:
    """Hide the passwords in a database address; too much is hidden rather than too little."""
    return _PASSWORDS.sub(lambda match: (match["before"] or match["key"]) + "***", text)


def passwords(text: str) -> set[str]:
    """Find the passwords in a database address, as written and as decoded."""
    written = {(match["url"] or match["pair"] or "").strip("'") for match in _PASSWORDS.finditer(text)}
    return (written | {unquote(password) for password in written}) - {""}


def write(value: object) -> str:
    """Write a value as it is read, a secret in clear; None is empty."""
    match value:
        case None:
            return ""
        case timedelta():
            return format_duration(value)
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _read(parse: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


Duration = Annotated[timedelta, _read(parse_duration)]
AnyPath = Annotated[Path, _read(parse_path)]
File = Annotated[Path, _read(_file)]
Size = Annotated[int, _read(parse_size)]
Modules = Annotated[tuple[str, ...], _read(_modules)]
Functions = Annotated[tuple[str, ...], _read(_functions)]
Names = Annotated[tuple[str, ...], _read(_names)]
Command = Annotated[str, _read(_command)]
DatabaseUrl = Annotated[SecretStr, _read(_database_url)]
SchemaName = Annotated[str, _read(_schema)]
StatsdAddress = Annotated[Address, _read(_address)]
HttpAddress = Annotated[Address | None, _read(lambda text: None if text.strip().lower() == "off" else _address(text))]
Level = Annotated[Literal["debug", "info", "warning", "error"], _read(str.lower)]
AfterFailure = Annotated[Literal["continue", "halt"], _read(str.lower)]
LogFormat = Annotated[Literal["auto", "console", "json"], _read(str.lower)]
