"""Owns how settings are shown to people and handed to children.

Invariant: only `as_environment` and `known_secrets` write a secret.
"""

from dataclasses import dataclass

from workerpool.config.forms import mask_url, passwords, write
from workerpool.config.settings import ABOUT, SECRETS, VARIABLES, Settings, Source


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `workerpool config`; `written` is the name the value was given under, empty for a default."""

    variable: str
    value: str
    source: Source
    written: str
    meaning: str


def describe(settings: Settings) -> list[Row]:
    """List every setting as `workerpool config` shows it, secrets masked and durations readable."""
    rows = []
    for name, variable in VARIABLES.items():
        given = settings.found.get(name)
        source, written = (given.source, given.written) if given else ("default", "")
        rows.append(Row(variable, masked(name, getattr(settings, name)), source, written, ABOUT[name].meaning))
    return rows


def as_environment(settings: Settings) -> dict[str, str]:
    """Write the settings, secrets in clear, as variables from which `load({}, variables)` makes equal ones.

    For the channel to a child of this host; never for argv, a log or a file that others can read.
    """
    values = {variable: write(getattr(settings, name)) for name, variable in VARIABLES.items() if name != "env_file"}
    values[VARIABLES["http"]] = values[VARIABLES["http"]] or "off"
    return {variable: value for variable, value in values.items() if value}


def known_secrets(settings: Settings) -> tuple[str, ...]:
    """List the texts that no log may show: tokens, and the database's passwords as written and as decoded."""
    secrets = {s.get_secret_value() for s in (settings.api_token, settings.webhook_secret) if s}
    if settings.database_url:
        secrets |= passwords(settings.database_url.get_secret_value())
    return tuple(sorted(secrets - {""}))


def masked(name: str, value: object) -> str:
    """Write the value of a field (by its name) for people: secrets hidden, what is not set said so."""
    if name == "database_url":
        return mask_url(write(value)) or "unset"
    if name in SECRETS:
        return "***" if value else "unset"
    if name == "max_rss" and isinstance(value, int) and value % (1 << 20) == 0:
        return f"{value >> 20}MiB"
    return write(value) or ("off" if name == "http" else "unset")
