"""Owns where settings come from: flags, environment, a file, the seed system's names; and the refusal of bad ones.

It does not own what each setting allows by itself (`settings`).
Invariant: `load` returns settings that are valid as a whole, or says everything that is wrong with them, with the names
that the user wrote and no secret.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from workerpool.config.forms import parse_path
from workerpool.config.listing import masked
from workerpool.config.settings import ABOUT, SECRETS, VARIABLES, Found, Settings, Source
from workerpool.core.durations import ALLOWED as DURATION_FORMS
from workerpool.core.durations import format_duration

_NOT_GIVEN: Final = (None, "", ())
# Names with our prefix that are read elsewhere: by start-workers.sh, between processes, under `safely`, by tests.
_ELSEWHERE: Final = re.compile(r"WORKERPOOL_(RUN|WORKER|SAFELY|VENV|STRICT_EVENTS|TEST_\w+|FAILPOINT\w*)")

Layer = tuple[Source, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Refused:
    """A setting that cannot be used: the name as the user wrote it, the value with secrets masked, what is allowed."""

    variable: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.variable} is {self.value!r}; allowed: {self.allowed}"


class BadSettings(Exception):
    """The settings cannot be used: every reason at once."""

    def __init__(self, refused: tuple[Refused, ...]) -> None:
        self.refused = refused
        super().__init__("\n".join(map(str, refused)))


def load(flags: Mapping[str, object] = MappingProxyType({}), environ: Mapping[str, str] = os.environ) -> Settings:
    """Read every setting: flags win over the environment, which wins over the file of `env_file`, then defaults.

    flags: by field name (`workers`; `schema` too), None where not given. environ: what `os.environ` is.
    Returns the settings, with `warnings`. Raises BadSettings with all that is wrong, KeyError for a flag of no setting.
    """
    by_flag = {("db_schema" if name == "schema" else name): value for name, value in flags.items()}
    layers: list[Layer] = [
        ("flag", {VARIABLES[name]: value for name, value in by_flag.items()}),
        ("environment", environ),
    ]
    refused: list[Refused] = []
    found: dict[str, Found] = {}
    if env_file := _look_up("env_file", layers, refused):
        layers.append(("file", _read_env_file(env_file, refused)))
    for name in Settings.model_fields:
        if given := _look_up(name, layers, refused):
            found[name] = given
    try:
        settings = Settings.model_validate({name: given.value for name, given in found.items()})
    except ValidationError as errors:
        names = dict.fromkeys(str(error["loc"][0]) for error in errors.errors())
        refused.extend(_refuse(name, found) for name in names)
        raise BadSettings(tuple(refused)) from None
    refused.extend(_together(settings, found))
    if refused:
        raise BadSettings(tuple(refused))
    return settings.with_origin(found, tuple(_unknown(name for _, values in layers[1:] for name in values)))


def _look_up(name: str, layers: list[Layer], refused: list[Refused]) -> Found | None:
    variable, seed = VARIABLES[name], ABOUT[name].seed
    for source, values in layers:
        if (value := values.get(variable)) not in _NOT_GIVEN:
            written = "--" + variable.removeprefix("WORKERPOOL_").lower().replace("_", "-")
            return Found(written if source == "flag" else variable, source, value)
        if name in SECRETS and (path := values.get(variable + "_FILE")):
            return _from_file(variable + "_FILE", source, str(path), refused)
    for _, values in layers:
        if seed is not None and (value := values.get(seed)):
            return Found(seed, "seed name", f"{value}ms" if name == "poll_interval" else value)
    return None


def _from_file(written: str, source: Source, path: str, refused: list[Refused]) -> Found | None:
    try:
        return Found(written, source, parse_path(path).read_text("utf-8").strip())
    except (OSError, ValueError):
        refused.append(Refused(written, path, "a file that can be read"))
        return None


def _read_env_file(env_file: Found, refused: list[Refused]) -> dict[str, str]:
    """Read NAME=VALUE lines as systemd's EnvironmentFile= does: comments, and one pair of quotes around a value."""
    content = _from_file(env_file.written, env_file.source, str(env_file.value), refused)
    values: dict[str, str] = {}
    for number, line in enumerate(str(content.value).splitlines() if content else (), start=1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        form = re.fullmatch(r"""(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(?:"(.*)"|'(.*)'|(.*))""", text)
        if form is None:
            refused.append(Refused(env_file.written, f"{env_file.value}, line {number}", "NAME=VALUE"))
        else:
            values[form[1]] = form[2] or form[3] or form[4] or ""
    return values


def _refuse(name: str, found: Mapping[str, Found], allowed: str = "") -> Refused:
    about, given = ABOUT[name], found.get(name)
    kind = DURATION_FORMS if Settings.model_fields[name].annotation is timedelta else "a whole number"
    allowed = allowed or about.allowed or f"{kind}, from {about.least} to {about.most}"
    if given is None:
        return Refused(VARIABLES[name], str(Settings.model_fields[name].default), allowed)
    if given.source == "seed name" and name == "poll_interval":
        allowed = f"a number of milliseconds, from {about.least} to {about.most}"
        return Refused(given.written, str(given.value).removesuffix("ms"), allowed)
    return Refused(given.written, masked(name, given.value), allowed)


def _together(settings: Settings, found: Mapping[str, Found]) -> Iterator[Refused]:
    lease, heartbeat = format_duration(settings.lease), format_duration(settings.heartbeat)
    if settings.heartbeat * 3 > settings.lease and "lease" in found:
        yield _refuse("lease", found, f"at least three times WORKERPOOL_HEARTBEAT, which is {heartbeat}")
    elif settings.heartbeat * 3 > settings.lease:
        yield _refuse("heartbeat", found, f"at most a third of WORKERPOOL_LEASE, which is {lease}")
    if settings.http and not settings.http.is_loopback and not settings.api_token:
        yield _refuse("http", found, "127.0.0.1:PORT, off, or any address when WORKERPOOL_API_TOKEN is set")


def _unknown(names: Iterable[str]) -> Iterator[str]:
    known = {*VARIABLES.values(), *(f"{VARIABLES[name]}_FILE" for name in SECRETS)}
    for name in sorted(set(names)):
        if name.startswith("WORKERPOOL_") and name not in known and not _ELSEWHERE.fullmatch(name):
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else "")
