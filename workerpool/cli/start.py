"""``workerpool start``: wires settings, children and manager together, and becomes the manager.

Owns: the specs of the children. Invariant: this process never opens a connection to the database; its children do.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import click
import setproctitle

from workerpool import config, logs
from workerpool.cli.errors import EXIT_CONFIG, Refused
from workerpool.cli.home import Home, hold
from workerpool.cli.webhook_secrets import source_secrets, webhook_secret
from workerpool.config.forms import Address
from workerpool.core.briefs import ApiBrief, KeeperBrief, PrepareBrief, WorkerBrief, as_message
from workerpool.core.plan import Stage
from workerpool.link import failpoints, tied
from workerpool.link.board import SLOTS, Board
from workerpool.manager.manager import Manager
from workerpool.manager.notify import Notifier
from workerpool.manager.spec import ChildSpec, PoolSpec
from workerpool.store import embedded

log = logs.get("manager")


@dataclass(frozen=True, slots=True)
class Wiring:
    """What stays the same over the reloads of one run."""

    home: Home
    manager_id: str
    run_id: str
    host: str
    bells: tuple[int, ...]
    dead: tuple[tuple[str, str], ...]
    until_empty: bool


def with_every_setting(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give *verb* a flag for each setting but the secrets: what stands in arguments, everybody on the host can read."""
    for name, field in reversed(config.Settings.model_fields.items()):
        if name not in {"api_token", "webhook_secret"}:
            flag = name.removeprefix("db_").replace("_", "-")
            told = f"{field.description} (WORKERPOOL_{flag.replace('-', '_').upper()})."
            verb = click.option(f"--{flag}", name.removeprefix("db_"), metavar="VALUE", help=told)(verb)
    return verb


@click.command()
@click.option("--until-empty", is_flag=True, help="Stop when nothing is pending or processing: the form for cron.")
@with_every_setting
def start(until_empty: bool, **flags: Any) -> None:
    """Process revisions until a signal ends it: TERM or Ctrl-C gracefully, QUIT quickly."""
    given = {name: value for name, value in flags.items() if value is not None}
    settings = config.load(given)
    sys.exit(run(settings, given, until_empty=until_empty))


def run(settings: config.Settings, flags: Mapping[str, object], *, until_empty: bool = False) -> int:
    """Be the manager of a pool with these settings; returns the exit code of the contract."""
    if why := failpoints.refusal(os.environ):
        raise Refused(why, EXIT_CONFIG)
    logs.configure(
        settings.log_level, settings.log_format, file=settings.log_file, secrets=config.known_secrets(settings)
    )
    for warning in settings.warnings:
        log.warning("config.warned", why=warning)
    home = Home(settings.home)
    with hold(home):
        signals = listen_to_signals()
        setproctitle.setproctitle("workerpool: manager")
        if settings.database_url is None:
            _check_embedded(settings)
        host = socket.gethostname()
        manager_id, run_id = f"{host}/{os.getpid()}-{secrets.token_hex(4)}", uuid.uuid4().hex
        count = min(SLOTS, max(16, 2 * settings.workers))
        bells = tuple(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count))
        wiring = Wiring(home, manager_id, run_id, host, bells, home.note_run(manager_id, run_id), until_empty)
        manager = Manager(pool_spec(settings, wiring), Board.create(), Notifier(), lambda: _reload(flags, wiring))
        code = manager.run(signals)
        if code == 0:
            home.forget_runs()
        logs.flush()
        return code


def listen_to_signals() -> int:
    """Let the contract's signals only write their number to a descriptor; returns its reading end."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    heard = ("TERM", "INT", "QUIT", "HUP", "TTIN", "TTOU", "USR1", "USR2")
    for number in (getattr(signal, f"SIG{name}") for name in heard):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGWINCH, signal.SIG_IGN)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _check_embedded(settings: config.Settings) -> None:
    try:
        log.info("postgres.started", how=embedded.check(embedded.Server(settings.home, settings.db_schema)))
    except (embedded.Unusable, embedded.BinariesMissing, embedded.HomeRefused, embedded.SocketFolderRefused) as error:
        raise Refused(str(error), EXIT_CONFIG) from error


def _reload(flags: Mapping[str, object], wiring: Wiring) -> PoolSpec | None:
    try:
        return pool_spec(config.load(dict(flags)), wiring)
    except config.BadSettings as error:
        log.error("config.refused", why=str(error))
        return None


def pool_spec(settings: config.Settings, wiring: Wiring) -> PoolSpec:
    """Return the run that *settings* describe."""
    api = _api(settings)
    services = [_prepare(settings, wiring), _keeper(settings, wiring), *api]
    if settings.database_url is None:
        server = embedded.Server(settings.home, settings.db_schema)
        services.insert(0, ChildSpec("postgres", Stage.POSTGRES, tuple(server.argv())))
    hidden = {"WORKERPOOL_DATABASE_URL", "WORKERPOOL_API_TOKEN", "WORKERPOOL_WEBHOOK_SECRET"}
    hidden |= {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", *(source_secrets(settings) if api else ())}
    return PoolSpec(
        services=tuple(services),
        worker=lambda number: _worker(settings, wiring, number),
        workers=settings.workers,
        most_workers=len(wiring.bells),
        run_id=wiring.run_id,
        manager_id=wiring.manager_id,
        grace=settings.shutdown_grace.total_seconds(),
        cancel_grace=settings.cancel_grace.total_seconds(),
        lease=settings.lease.total_seconds(),
        max_restarts=settings.max_restarts,
        restart_period=settings.restart_period.total_seconds(),
        environment={name: value for name, value in os.environ.items() if name not in hidden},
    )


def _url(settings: config.Settings) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded.Server(settings.home, settings.db_schema).url()


def _log(settings: config.Settings) -> dict[str, Any]:
    file = str(settings.log_file) if settings.log_file else None
    return {"log_level": settings.log_level, "log_format": settings.log_format, "log_file": file}


def _prepare(settings: config.Settings, wiring: Wiring) -> ChildSpec:
    brief = PrepareBrief(
        url=_url(settings),
        schema=settings.db_schema,
        start_timeout=settings.start_timeout.total_seconds(),
        dead_managers=tuple(manager for manager, _ in wiring.dead),
        dead_runs=tuple(run for _, run in wiring.dead),
        run_id=wiring.run_id,
        **_log(settings),
    )
    return ChildSpec("prepare", Stage.PREPARE, tied.command("workerpool.keeper.prepare"), lambda _: as_message(brief))


def _keeper(settings: config.Settings, wiring: Wiring) -> ChildSpec:
    brief = KeeperBrief(
        url=_url(settings),
        schema=settings.db_schema,
        manager_id=wiring.manager_id,
        host=wiring.host,
        run_id=wiring.run_id,
        bells=wiring.bells,
        lease=settings.lease.total_seconds(),
        heartbeat=settings.heartbeat.total_seconds(),
        unhandled_after=settings.unhandled_after.total_seconds(),
        max_crashes=settings.max_crashes,
        retention=settings.retention.total_seconds(),
        home=str(settings.home),
        after_failure=settings.after_failure,
        until_empty=wiring.until_empty,
        **_log(settings),
    )
    return ChildSpec(
        "keeper",
        Stage.KEEPER,
        (sys.executable, "-m", "workerpool.keeper"),  # it outlives its manager for as long as it takes to clean up
        lambda _: as_message(brief),
        descriptors=wiring.bells,
    )


def _api(settings: config.Settings) -> list[ChildSpec]:
    if settings.http is None:
        return []
    if missing := lacking():
        log.warning("api.missing", packages=missing, hint="pip install 'workerpool[web]', or WORKERPOOL_HTTP=off")
        return []
    brief = api_brief(settings, settings.http)
    return [ChildSpec("api", Stage.API, tied.command("workerpool.api"), lambda _: as_message(brief))]


def lacking() -> list[str]:
    """Return the packages of the extra `web` that are not installed."""
    return [name for name in ("fastapi", "uvicorn", "jinja2", "psycopg_pool") if find_spec(name) is None]


def api_brief(settings: config.Settings, address: Address) -> ApiBrief:
    """Return what the process that shows is told."""
    return ApiBrief(
        url=_url(settings),
        schema=settings.db_schema,
        host=address.host,
        port=address.port,
        hosts=settings.http_hosts,
        token=settings.api_token.get_secret_value() if settings.api_token else None,
        webhook_secret=webhook_secret(settings),
        sources=str(settings.sources) if settings.sources else None,
        source_secrets=source_secrets(settings),
        statsd=(settings.statsd.host, settings.statsd.port) if settings.statsd else None,
        lease=settings.lease.total_seconds(),
        heartbeat=settings.heartbeat.total_seconds(),
        poll_interval=settings.poll_interval.total_seconds(),
        pause_poll_interval=settings.pause_poll_interval.total_seconds(),
        cancel_grace=settings.cancel_grace.total_seconds(),
        home=str(settings.home),
        **_log(settings),
    )


def _worker(settings: config.Settings, wiring: Wiring, number: int) -> ChildSpec:
    def brief(generation: int) -> dict[str, Any]:
        return as_message(
            WorkerBrief(
                url=_url(settings),
                schema=settings.db_schema,
                manager_id=wiring.manager_id,
                host=wiring.host,
                slot=f"W{number + 1}",
                generation=generation,
                sharers=settings.workers,
                board_slot=number,
                bell=wiring.bells[number],
                handlers=settings.handlers,
                command=settings.command,
                commands=str(settings.commands) if settings.commands else None,
                agent_tools=settings.agent_tools,
                poll_interval=settings.poll_interval.total_seconds(),
                pause_poll_interval=settings.pause_poll_interval.total_seconds(),
                lease=settings.lease.total_seconds(),
                timeout=settings.timeout.total_seconds(),
                cancel_grace=settings.cancel_grace.total_seconds(),
                max_crashes=settings.max_crashes,
                max_revisions=settings.max_revisions,
                max_rss=settings.max_rss,
                after_failure=settings.after_failure,
                home=str(settings.home),
                **_log(settings),
            )
        )

    return ChildSpec(
        f"W{number + 1}",
        Stage.WORKER,
        tied.command("workerpool.worker"),
        brief,
        board_slot=number,
        descriptors=(wiring.bells[number],),
    )
