"""Owns the settings: their names, defaults, limits and meanings.

It does not own where values come from (`layers`) or how they are shown (`listing`).
Invariant: a `Settings` that exists is valid field by field; no secret is in its `repr`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from workerpool.config import forms
from workerpool.core.durations import parse_duration
from workerpool.core.sizes import parse_size

Source = Literal["default", "environment", "flag", "file", "seed name"]


@dataclass(frozen=True, slots=True)
class About:
    """What people are told of a setting, its limits as they are written, and the seed system's name for it."""

    meaning: str
    allowed: str
    least: str | None
    most: str | None
    seed: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """A value that somebody gave: under which name, and where."""

    written: str
    source: Source
    value: object


def _setting(
    default: str | None,
    meaning: str,
    allowed: str = "",
    *,
    least: str | None = None,
    most: str | None = None,
    seed: str | None = None,
) -> Any:
    about: Any = About(meaning, allowed, least, most, seed)
    return Field(default, description=meaning, json_schema_extra={"about": about})


class Settings(BaseSettings):
    """Every setting, validated; `workerpool.config.load` makes it."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    database_url: forms.DatabaseUrl | None = _setting(
        None, "the database; unset: an embedded PostgreSQL in WORKERPOOL_HOME", forms.URL_FORMS
    )
    home: forms.AnyPath = _setting(".workerpool", "embedded data, sockets and run files (0700)", "a folder")
    # Not `schema`: that name is taken by the class we build on.
    db_schema: forms.SchemaName = _setting("workerpool", "the schema in the database", forms.SCHEMA_FORMS)
    workers: int = _setting("2", "worker processes, one per slot", least="1", most="64", seed="EDIT_AGENT_WORKERS")
    poll_interval: forms.Duration = _setting(
        "5s",
        "idle workers look this often, by turns; NOTIFY wakes them",
        least="10ms",
        most="1h",
        seed="WORKER_POLL_INTERVAL",
    )
    max_restarts: int = _setting("10", "restarts a slot may have within the period", least="0", most="10000")
    restart_period: forms.Duration = _setting("600s", "the period of the restarts", least="1s", most="1d")
    max_crashes: int = _setting("3", "crashes that end a revision as poison", least="1", most="100")
    shutdown_grace: forms.Duration = _setting("30s", "running revisions may finish this long", least="0s", most="1d")
    start_timeout: forms.Duration = _setting("60s", "to wait for the database at start", least="0s", most="1d")
    unhandled_after: forms.Duration = _setting(
        "10s", "then a revision that no living worker has a handler for fails", least="0s", most="30d"
    )
    cancel_grace: forms.Duration = _setting("10s", "from asking a handler to end to killing it", least="0s", most="1h")
    pause_poll_interval: forms.Duration = _setting("5s", "a paused worker looks this often", least="10ms", most="10m")
    lease: forms.Duration = _setting("60s", "how long a claim holds unless renewed", least="300ms", most="1h")
    heartbeat: forms.Duration = _setting("10s", "how often leases are renewed", least="100ms", most="20m")
    timeout: forms.Duration = _setting(
        "1h", "limit of an attempt, if nothing nearer sets one", least="1ms", most="365d"
    )
    handlers: forms.Modules = _setting(
        "", "modules with handlers, to import", "module names or paths of .py files, comma separated"
    )
    command: forms.Command | None = _setting(
        None, "command line of the default handler", "a command line, quoted as for a shell"
    )
    commands: forms.File | None = _setting(None, "named commands that revisions may use", "a file that exists")
    agent_tools: forms.Functions = _setting(
        "", "functions that agents may be given as tools", "module:function or file.py:function, comma separated"
    )
    sources: forms.File | None = _setting(None, "webhook sources", "a file that exists")
    max_rss: forms.Size | None = _setting(
        None, "recycle a worker that uses more memory", "a size from 16MiB up: 512MiB, 1GiB, 800MB", least="16MiB"
    )
    max_revisions: int | None = _setting(None, "recycle a worker after so many revisions", least="1", most="1000000000")
    after_failure: forms.AfterFailure = _setting(
        "continue", "halt: a failed revision stops its item until unhalt", "continue or halt"
    )
    http: forms.HttpAddress = _setting(
        "127.0.0.1:3031", "where the API listens", f"{forms.ADDRESS_FORMS}, or off", seed="EDIT_AGENT_WEBHOOK_PORT"
    )
    http_hosts: forms.Names = _setting(
        "", "further names under which the API may be asked, as behind a proxy", "host names, comma separated"
    )
    api_token: SecretStr | None = _setting(None, "bearer token of the API", "any text")
    webhook_secret: SecretStr | None = _setting(None, "signs webhooks", "any text")
    log_level: forms.Level = _setting("info", "the least important events to log", "debug, info, warning or error")
    log_format: forms.LogFormat = _setting("auto", "auto: console on a terminal, else JSON", "auto, console or json")
    log_file: forms.AnyPath | None = _setting(
        None, "log to this file, opened again at USR1; unset: standard error", "the path of a file"
    )
    statsd: forms.StatsdAddress | None = _setting(None, "where gauges and counters go", forms.ADDRESS_FORMS)
    retention: forms.Duration = _setting(
        "30d", "of completed and cancelled revisions and logs", least="1s", most="36500d"
    )
    env_file: forms.File | None = _setting(
        None, "settings of less weight than the environment, read again at HUP", "a file that exists"
    )

    _found: dict[str, Found] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values come from `load` alone: it knows which name the user wrote."""
        return (init_settings,)

    @field_validator("*")
    @classmethod
    def _within_limits(cls, value: Any, info: ValidationInfo) -> Any:
        about = ABOUT[info.field_name or ""]
        read = parse_duration if isinstance(value, timedelta) else parse_size
        if value is not None and about.least is not None and value < read(about.least):
            raise ValueError("too little")
        if value is not None and about.most is not None and value > read(about.most):
            raise ValueError("too much")
        return value

    @property
    def found(self) -> Mapping[str, Found]:
        """What was given for each field that is not at its default."""
        return MappingProxyType(self._found)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about names that look like settings and are none."""
        return self._warnings

    def with_origin(self, found: Mapping[str, Found], warnings: tuple[str, ...]) -> "Settings":
        """Return the same settings, knowing where each came from; `load` calls this once."""
        known = self.model_copy()
        known._found = dict(found)
        known._warnings = warnings
        return known


def _about(field: FieldInfo) -> About:
    extra: Any = field.json_schema_extra
    about: About = extra["about"]
    return about


ABOUT: Final[Mapping[str, About]] = MappingProxyType({name: _about(f) for name, f in Settings.model_fields.items()})
VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {name: f"WORKERPOOL_{name.removeprefix('db_').upper()}" for name in Settings.model_fields}
)
SECRETS: Final = ("database_url", "api_token", "webhook_secret")
