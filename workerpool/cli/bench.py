"""``workerpool bench``: measure the pool on this machine, as pgbench measures the server.

Owns: the verb, and the table. Does not own: the workloads and their figures (``bench``). Invariant: exit 0 means that
every run was verified.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workerpool.cli.errors import EXIT_CONFIG, EXIT_FAILED, Refused
from workerpool.cli.options import on_terminal
from workerpool.cli.tables import write_json, write_table

if TYPE_CHECKING:
    from workerpool.bench.report import Report
    from workerpool.bench.sizes import Sizes

COLUMNS = ("workload", "figure", "value", "least to most", "ratio", "to")
SAMPLED = ("sampled", "median", "least to most", "change an hour", "over the run")


@click.command()
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@click.option("--list", "listing", is_flag=True, help="Say what each workload is, and measure nothing.")
@click.option("--quick", "size", flag_value="quick", help="Small sizes: under 3 minutes.")
@click.option("--full", "size", flag_value="full", help="Three rounds, and how the cost grows: under 30 minutes.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes.")
@click.option("--revisions", type=click.IntRange(100, 10_000_000), help="Of W1; the other sizes go with it.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Rounds; the table has their medians.")
@click.option("--minutes", type=click.FloatRange(0.1, 24 * 60), help="Length of SOAK; 60 by default.")
@click.option("--kill", is_flag=True, help="Kill random workers in W1, W2 and W3, and verify all the same.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write bench.json and plots there.")
@click.option("--database-url", metavar="URL", help="A server to measure on, in databases made for it and dropped.")
def bench(
    workloads: tuple[str, ...],
    listing: bool,
    size: str | None,
    workers: int,
    revisions: int | None,
    rounds: int | None,
    minutes: float | None,
    kill: bool,
    as_json: bool,
    output: Path | None,
    database_url: str | None,
) -> None:
    """Measure the pool on this machine: rates, latency and cost of a revision, beside the floor by pgbench.

    Without --database-url on a PostgreSQL of its own in a temporary folder, with every commit durable. Each run is
    verified from the rows and from the handlers' own record. --list names the workloads; without any, all are run.
    """
    names = [_known(name) for name in workloads]
    sizes = _sizes(size, revisions, rounds)
    if minutes is not None:
        if "SOAK" not in names:
            raise click.UsageError("--minutes is the length of SOAK: `workerpool bench SOAK --minutes 5`")
        sizes = replace(sizes, soak_minutes=minutes)
    if listing:
        _list(names, sizes, as_json=as_json)
        return
    if kill and names and not set(names) & _killed():
        raise click.UsageError(f"--kill kills workers in {', '.join(sorted(_killed()))} only")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    report = _perform(database_url, workers, names, sizes, kill=kill)
    if output is not None:
        _write(report, output)
    if as_json:
        write_json(report.as_json())
        return
    write_table(COLUMNS, report.rows())
    if sampled := report.trend_rows():
        write_table(SAMPLED, sampled)
    for note in report.notes():
        click.echo(note)


def _sizes(size: str | None, revisions: int | None, rounds: int | None) -> Sizes:
    from workerpool.bench import sizes as known

    sizes = {"quick": known.QUICK, "full": known.FULL}.get(size or "", known.STANDARD)
    if revisions is not None:
        sizes = sizes.scaled(revisions)
    return replace(sizes, rounds=rounds) if rounds is not None else sizes


def _known(name: str) -> str:
    """Return the workload's own name. Raises UsageError with the nearest."""
    from workerpool.bench.catalogue import WORKLOADS

    if name.upper() in WORKLOADS:
        return name.upper()
    import difflib

    near = difflib.get_close_matches(name.upper(), WORKLOADS, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise click.UsageError(f"There is no workload {name!r}.{hint} `workerpool bench --list` names them all.")


def _killed() -> set[str]:
    from workerpool.bench.catalogue import KILLED

    return set(KILLED)


def _list(names: list[str], sizes: Sizes, *, as_json: bool) -> None:
    from workerpool.bench.catalogue import WORKLOADS

    told = {name: each.sentence(sizes) for name, each in WORKLOADS.items() if name in names or not names}
    if as_json:
        write_json(told)
    else:
        write_table(("workload", "what it is"), told.items())


def _perform(url: str | None, workers: int, names: list[str], sizes: Sizes, *, kill: bool) -> Report:
    from workerpool.bench import suite
    from workerpool.bench.ground import NoGround, standing
    from workerpool.bench.record import Unverified
    from workerpool.pool import PoolFailed

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that pools, server and databases are cleared away
    try:
        with standing(url, workers, killing=kill) as ground:
            return suite.perform(ground, names, sizes, _say)
    except NoGround as error:
        raise Refused(str(error), EXIT_CONFIG, error.hint) from None
    except (Unverified, PoolFailed) as error:
        raise Refused(f"the benchmark failed: {error}", EXIT_FAILED) from error
    except KeyboardInterrupt:
        raise Refused("interrupted; everything was cleared away", 130) from None


def _say(line: str) -> None:
    """Tell what is measured now, to those who wait for it."""
    if on_terminal() or sys.stderr.isatty():
        click.secho(line, err=True, dim=True)


def _write(report: Report, folder: Path) -> None:
    from workerpool.bench import plot

    path = folder / "bench.json"
    path.write_text(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for each in (path, *plot.write(report, folder)):
        click.echo(f"written: {each}", err=True)
