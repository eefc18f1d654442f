"""The handlers that are there without a module: ``default``, ``command``, ``agent`` and ``revert``.

Invariant: a revision for one of them that nothing was configured for fails with a sentence that says how to configure
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workerpool.core.errors import Fail, InvalidPayload
from workerpool.handlers import registry
from workerpool.handlers.agent import agent
from workerpool.handlers.command import run_command, run_named_command
from workerpool.handlers.command_config import CommandSpec, load_commands, parse_command_line
from workerpool.job.job import Job

HOW_DEFAULT = (
    "no handler 'default' is configured: set WORKERPOOL_COMMAND to a command line (such as 'claude -p'), "
    'or WORKERPOOL_HANDLERS to a module with @handler("default"), or name another handler in the revision'
)
HOW_COMMAND = "no commands are allowed here: set WORKERPOOL_COMMANDS to a file that names them"


def add_configured(command: str | None, commands: Path | None) -> None:
    """Register ``default`` (unless a module has) and ``command``. Raises ValueError for a bad command line or file."""
    if "default" not in registry.known():
        registry.add(registry.HandlerSpec("default", _default(parse_command_line(command) if command else None)))
    allowed = load_commands(commands) if commands is not None else {}
    registry.add(registry.HandlerSpec("command", _command(allowed)))
    registry.add(registry.HandlerSpec("agent", agent, is_async=True))
    registry.add(registry.HandlerSpec("revert", revert))


def revert(job: Job) -> object:
    """Make the result with the number ``to`` of the item's history its content again; 0 is the original."""
    number = job.payload.get("to")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**31:
        raise InvalidPayload(f'the payload must be {{"to": N}}, N a number of the history or 0, not {number!r}')
    try:
        return job.result_of(number)
    except LookupError as error:
        raise Fail(str(error)) from None


def _default(spec: CommandSpec | None) -> registry.Handler:
    def default(job: Job) -> object:
        if spec is None:
            raise Fail(HOW_DEFAULT)
        return run_command(spec, job)

    return default


def _command(allowed: Mapping[str, CommandSpec]) -> registry.Handler:
    def command(job: Job) -> object:
        if not allowed:
            raise Fail(HOW_COMMAND)
        return run_named_command(allowed, job)

    return command
