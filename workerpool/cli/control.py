"""``workerpool stop`` and ``workerpool reload``: the signals of the contract, sent to the manager of this home.

Owns: finding the manager and waiting for its end; asking the managers of another host, through the database.
Invariant: a signal goes through a pidfd to the process that held the home's lock when the pidfd was open, so that a
reused pid is never hit.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from datetime import timedelta

import click

from workerpool.cli.errors import EXIT_REFUSED, EXIT_TIMED_OUT, Refused, no_such
from workerpool.cli.home import Home
from workerpool.cli.options import Duration, session, with_settings
from workerpool.config import Settings
from workerpool.core.durations import format_duration
from workerpool.core.wording import counted, safe

#: What a stop may take beside the grace (P6), and a little for a slow machine.
BEYOND_GRACE = timedelta(seconds=10)
QUICKER = "`workerpool stop --quick` kills what still runs and gives it back"


@click.command()
@click.option("--quick", is_flag=True, help="Kill the handlers and give their revisions back: out within 5 s.")
@click.option(
    "--host", metavar="NAME", help="Stop the pools of that host, through the database, instead of this home's."
)
@click.option("--reason", default="", metavar="TEXT", help="With --host: why; `workerpool events` shows it.")
@click.option(
    "--wait", type=Duration(), help="How long to wait until it is gone; 0: not at all. [default: the grace + 10s]"
)
@with_settings
def stop(settings: Settings, quick: bool, host: str | None, reason: str, wait: timedelta | None) -> None:
    """Stop the pool of this home, or of a host: running revisions may finish within the grace."""
    limit = settings.shutdown_grace + BEYOND_GRACE if wait is None else wait
    if host is not None:
        _stop_host(settings, host, reason, limit, quick=quick)
        return
    if reason:
        raise click.UsageError("--reason is for --host: a stop of this home is a signal, and is not recorded.")
    pid, handle = find(settings)
    try:
        tell(handle, pid, signal.SIGQUIT if quick else signal.SIGTERM)
        if not limit:
            click.echo(f"asked pid {pid} to stop")
        elif gone(handle, limit):
            click.echo(f"stopped pid {pid}")
        else:
            raise Refused(f"pid {pid} is still stopping after {format_duration(limit)}", EXIT_TIMED_OUT, QUICKER)
    except KeyboardInterrupt:
        raise Refused(f"not waiting any longer; pid {pid} goes on stopping", 130) from None
    finally:
        os.close(handle)


def _stop_host(settings: Settings, host: str, reason: str, limit: timedelta, *, quick: bool) -> None:
    from workerpool.store import changing, stopping

    with session(settings, "stop") as opened:
        try:
            how: stopping.Stop = "quick" if quick else "graceful"
            asked = stopping.stop_host(opened, host, how, changing.actor(), reason, settings.lease)
        except stopping.NoSuchHost as error:
            raise no_such(
                safe(str(error)), "`workerpool workers` lists every worker; `workerpool stop` stops this home's"
            ) from error
        named = safe(", ".join(asked))
        if not limit:
            click.echo(f"asked {named} to stop")
            return
        try:
            alive = stopping.wait_until_gone(opened, asked, limit, settings.lease)
        except KeyboardInterrupt:
            raise Refused(f"not waiting any longer; {named} goes on stopping", 130) from None
    if alive:
        told = f"{counted(alive, 'worker')} of {named} are still there after {format_duration(limit)}"
        raise Refused(told, EXIT_TIMED_OUT, QUICKER)
    click.echo(f"stopped {named}")


@click.command()
@with_settings
def reload(settings: Settings) -> None:
    """Read the settings and handlers again: workers are replaced one by one, each after its revision."""
    pid, handle = find(settings)
    try:
        tell(handle, pid, signal.SIGHUP)
    finally:
        os.close(handle)
    click.echo(
        f"asked pid {pid} to reload; its log says whether the settings are good (config.reloaded, config.refused)"
    )


def find(settings: Settings) -> tuple[int, int]:
    """Return the pid of the manager of this home and a pidfd of it.

    Raises Refused (4) where nothing runs, or what runs cannot be signalled from here.
    """
    home = Home(settings.home)
    pid = home.manager()
    if pid is not None:
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            if home.is_held_by(pid) and home.manager() == pid:
                return pid, handle
            os.close(handle)
        if home.manager() == pid:
            raise Refused(
                f"a pool runs on {settings.home}, but its manager is not what is process {pid} here",
                EXIT_REFUSED,
                "it runs in a container: run the command in there, or `workerpool stop --host NAME`",
            )
    raise Refused(
        f"no pool runs on {settings.home}", EXIT_REFUSED, "another home is named with --home or WORKERPOOL_HOME"
    )


def tell(handle: int, pid: int, number: signal.Signals) -> None:
    """Send a signal. Raises Refused (4) where this user may not; a process that has just ended needs none."""
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise Refused(f"pid {pid} belongs to another user", EXIT_REFUSED, "run the command as that user") from error


def gone(handle: int, limit: timedelta) -> bool:
    """Wait until the process of *handle* has ended, at most *limit*; tells whether it has."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(limit / timedelta(milliseconds=1)))
