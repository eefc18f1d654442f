"""``workerpool doctor``: looks at everything that a pool needs, and says what to do about what is missing.

Owns: the checks and their order. Does not own: those of the database (``doctor_database``). Invariant: nothing is
changed, and no check keeps another from being made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import click

from workerpool import config as configuration
from workerpool.cli.errors import EXIT_FAILED, Refused
from workerpool.cli.finding import Finding, ok, problem, warning
from workerpool.cli.home import Home
from workerpool.cli.options import with_json
from workerpool.cli.tables import paint, write_json
from workerpool.config import BadSettings, Settings
from workerpool.core.wording import counted, safe, size

OLDEST_PYTHON = (3, 11)
#: Free space in the home below which a pool soon stops, and below which somebody should know.
TOO_LITTLE, LITTLE = 200 << 20, 2 << 30
IMPORT_LIMIT = 60
IMPORTING = """
import json, sys
from workerpool.handlers import registry
try:
    registry.load(tuple(filter(None, sys.argv[1].split(","))))
    registry.allow_tools(tuple(filter(None, sys.argv[2].split(","))))
except registry.HandlerModuleBroken as error:
    sys.exit(str(error))
print("\\n" + json.dumps([sorted(registry.known()), sorted(registry.tools())]))
"""


@click.command()
@click.option("--database-url", metavar="URL", help="The database (WORKERPOOL_DATABASE_URL).")
@click.option("--home", type=click.Path(readable=False), help="Embedded data and run files (WORKERPOOL_HOME).")
@click.option("--schema", metavar="NAME", help="The schema in the database (WORKERPOOL_SCHEMA).")
@with_json
def doctor(as_json: bool, **flags: str | None) -> None:
    """Check everything that a pool needs, and say what to do; exit 1 where something keeps it from working."""
    findings = []
    for finding in _check({name: value for name, value in flags.items() if value is not None}):
        findings.append(finding)
        if not as_json:
            _say(finding)
    count = Counter(finding.state for finding in findings)
    if as_json:
        write_json([asdict(finding) for finding in findings])
    elif count["problem"]:
        click.echo(f"{count['problem']} of {len(findings)} checks found a problem")
    else:
        click.echo(
            "everything needed is there"
            + (f", with {counted(count['warning'], 'warning')}" if count["warning"] else "")
        )
    sys.exit(EXIT_FAILED if count["problem"] else 0)


def _say(finding: Finding) -> None:
    click.echo(f"{paint(finding.state.ljust(8))} {finding.subject}: {safe(finding.told)}")
    if finding.advice:
        click.echo(f"{' ' * 9}{click.style('do:', bold=True)} {safe(finding.advice)}")


def _check(flags: dict[str, str]) -> Iterator[Finding]:
    yield _python()
    try:
        settings = configuration.load(flags)
    except BadSettings as error:
        for each in error.refused:
            yield problem("settings", f"{each.variable} is {each.value!r}", f"allowed: {each.allowed}")
        return
    yield from _settings(settings)
    yield from _home(settings)
    from workerpool.cli.doctor_database import check_database

    yield from check_database(settings)
    yield from _handlers(settings)
    yield from _commands(settings)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return problem("Python", f"version {version}", "Python 3.11 or newer is needed")
    if sys.platform != "linux":
        return problem("Python", f"version {version} on {sys.platform}", "the daemon needs Linux (pidfd, eventfd)")
    return ok("Python", f"version {version}, {sys.executable}")


def _settings(settings: Settings) -> Iterator[Finding]:
    given = len(settings.found)
    yield ok("settings", f"good; {given} given, the others at their defaults (`workerpool config` lists them)")
    for told in settings.warnings:
        yield warning("settings", told, "correct the name, or unset it")


def _home(settings: Settings) -> Iterator[Finding]:
    there = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield problem("home", f"{there} cannot be written", "another WORKERPOOL_HOME, or give yourself the folder")
        return
    free = shutil.disk_usage(there).free
    told = f"{settings.home}, {size(free)} free"
    if free < TOO_LITTLE:
        yield problem("disk", told, "make room: PostgreSQL stops when it cannot write")
    elif free < LITTLE:
        yield warning("disk", told, "make room soon, or let WORKERPOOL_RETENTION be shorter and run `workerpool prune`")
    else:
        yield ok("home", told)
    if there == settings.home and there.stat().st_mode & 0o066:
        yield warning("home", f"others may read or write {there}", f"chmod 700 {there}")
    try:
        pid = Home(settings.home).manager()
        yield ok("daemon", f"running, pid {pid}" if pid else "not running on this home; `workerpool start` starts it")
    except Refused as error:
        yield warning("daemon", error.message, error.hint)


def _handlers(settings: Settings) -> Iterator[Finding]:
    if not settings.handlers and not settings.command:
        advice = "set WORKERPOOL_HANDLERS to a module with @handler functions, or WORKERPOOL_COMMAND to a command"
        yield warning("handlers", "only agents perform revisions: there is neither module nor command", advice)
    if not settings.handlers and not settings.agent_tools:
        return
    modules, functions = ",".join(settings.handlers), ",".join(settings.agent_tools)
    try:
        done = subprocess.run(
            [sys.executable, "-c", IMPORTING, modules, functions],
            capture_output=True,
            text=True,
            timeout=IMPORT_LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        advice = "a module must not do its work when it is imported"
        yield problem("handlers", f"importing {modules or functions} took more than {IMPORT_LIMIT} s", advice)
        return
    if done.returncode != 0:
        said = (
            done.stderr.strip() or f"the import of {modules or functions} ended the process ({done.returncode})"
        ).splitlines()[-1]
        yield problem("handlers", said, "the module must be importable where the daemon starts: see PYTHONPATH")
        return
    names, tools = json.loads(done.stdout.strip().splitlines()[-1])
    if tools:
        yield ok("tools of agents", ", ".join(tools))
    if names:
        yield ok("handlers", f"{modules}: {', '.join(names)}")
    elif modules:
        yield warning("handlers", f"{modules} registers no handler", 'decorate a function with @handler("NAME")')


def _commands(settings: Settings) -> Iterator[Finding]:
    from workerpool.core.errors import Fail
    from workerpool.handlers.command_config import CommandSpec, InvalidCommand, load_commands, parse_command_line
    from workerpool.handlers.command_environment import inherited_environment, locate_program

    specs: list[CommandSpec] = []
    try:
        if settings.command:
            specs.append(parse_command_line(settings.command))
        if settings.commands:
            specs += load_commands(settings.commands).values()
    except InvalidCommand as error:
        yield problem("commands", f"{error.where}: {error.problem}", f"allowed: {error.allowed}")
    for spec in specs:
        try:
            program = locate_program(spec, inherited_environment(spec))
        except Fail as error:
            yield problem(f"command {spec.name}", error.reason, "install the program, or correct the command or PATH")
        else:
            yield ok(f"command {spec.name}", program)
