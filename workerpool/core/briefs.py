"""What a child process is told at its start. Facts, sent as JSON over its channel, never in its arguments.

Invariant: a brief holds everything that the child was configured with, so that a child reads no settings of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast


@dataclass(frozen=True, slots=True)
class WorkerBrief:
    """What a worker process is told; durations are seconds."""

    url: str
    schema: str
    manager_id: str
    host: str
    slot: str
    generation: int
    sharers: int
    board_slot: int
    bell: int
    handlers: tuple[str, ...]
    command: str | None
    commands: str | None
    poll_interval: float
    lease: float
    timeout: float
    cancel_grace: float
    max_crashes: int
    max_revisions: int | None
    max_rss: int | None
    after_failure: str
    home: str
    log_level: str
    log_format: str
    log_file: str | None
    pause_poll_interval: float = 5.0
    agent_tools: tuple[str, ...] = ()

    @property
    def worker_id(self) -> str:
        """Return the worker's name with its generation, such as ``web1/4711-c0ffee/W1.3``."""
        return f"{self.manager_id}/{self.slot}.{self.generation}"


@dataclass(frozen=True, slots=True)
class KeeperBrief:
    """What the keeper is told; durations are seconds."""

    url: str
    schema: str
    manager_id: str
    host: str
    run_id: str
    bells: tuple[int, ...]
    lease: float
    heartbeat: float
    unhandled_after: float
    max_crashes: int
    retention: float
    home: str
    after_failure: str
    until_empty: bool
    log_level: str
    log_format: str
    log_file: str | None


@dataclass(frozen=True, slots=True)
class PrepareBrief:
    """What the one-shot ``prepare`` is told; durations are seconds."""

    url: str
    schema: str
    start_timeout: float
    dead_managers: tuple[str, ...]
    dead_runs: tuple[str, ...]
    run_id: str
    log_level: str
    log_format: str
    log_file: str | None


@dataclass(frozen=True, slots=True)
class ApiBrief:
    """What the process that shows is told; durations are seconds."""

    url: str
    schema: str
    host: str
    port: int
    hosts: tuple[str, ...]
    """Names, beside addresses and the machine's own, under which it may be asked."""
    token: str | None
    webhook_secret: str | None
    sources: str | None
    source_secrets: dict[str, str]
    """What the variables hold that the file of sources names."""
    statsd: tuple[str, int] | None
    lease: float
    heartbeat: float
    poll_interval: float
    pause_poll_interval: float
    cancel_grace: float
    home: str
    log_level: str
    log_format: str
    log_file: str | None


Brief = WorkerBrief | KeeperBrief | PrepareBrief | ApiBrief


def as_message(brief: Brief) -> dict[str, Any]:
    """Return *brief* as a JSON object."""
    return asdict(brief)


BriefT = TypeVar("BriefT", WorkerBrief, KeeperBrief, PrepareBrief, ApiBrief)


def from_message(kind: type[BriefT], message: dict[str, Any]) -> BriefT:
    """Return the brief that *message* holds."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in message.items()}
    return cast("type[Any]", kind)(**fields)  # type: ignore[no-any-return]
