"""The built-in handler that performs a revision with a command line.

Owns what a command is given (payload, current content, variables) and what its end means for the revision: a result,
a failure, a timeout or a cancellation. How processes live and die is `command_process`; what may run at all is
`command_config`.

Invariant: nothing of a row reaches the argument vector. The payload is JSON on stdin (or the prompt that it means is)
and in a file, the item's content in two files, as JSON and as text, and identity stands in variables.
A revision counts as completed only when the program exited with status 0 by itself.

The command runs in the directory in which the daemon was started, or in its spec's `directory`, for tools that edit
files in place are the main use. Its files lie in a private directory that is removed afterwards.
"""

import json
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from workerpool.core.errors import Cancelled, Fail, InvalidPayload, OutputLimitExceeded
from workerpool.handlers.command_config import CommandSpec
from workerpool.handlers.command_environment import inherited_environment, locate_program
from workerpool.handlers.command_output import Excerpt
from workerpool.handlers.command_process import Ending, Limits, Program, run_program
from workerpool.handlers.command_prompt import content_text, prompt_of
from workerpool.handlers.subprocess_tree import MARK
from workerpool.handlers.work_directory import work_directory

_MESSAGE_LINES = 5
_MESSAGE_LENGTH = 2000


class CommandToken(Protocol):
    """What this handler asks of a cancellation token."""

    @property
    def cancelled(self) -> bool: ...
    @property
    def reason(self) -> str | None: ...


class CommandLog(Protocol):
    """What this handler asks of a revision's log."""

    def info(self, message: str, **data: Any) -> object: ...
    def warning(self, message: str, **data: Any) -> object: ...


class CommandJob(Protocol):
    """What this handler asks of a job."""

    @property
    def id(self) -> int: ...
    @property
    def item_key(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def payload(self) -> dict[str, Any]: ...
    @property
    def base(self) -> object: ...
    @property
    def fence(self) -> int: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def token(self) -> CommandToken: ...
    @property
    def log(self) -> CommandLog: ...


class CommandFailed(Exception):
    """A command ended with another status than 0, or by a signal; another attempt may do better."""

    kind = "error"

    def __init__(self, name: str, ending: Ending) -> None:
        self.name = name
        self.exit_status = ending.exit_status
        self.signal = signal_name(ending.signal)
        self.seconds = ending.seconds
        self.last_lines = ending.stderr.last_lines(_MESSAGE_LINES)
        said = "\n".join(self.last_lines)[-_MESSAGE_LENGTH:]
        super().__init__(f"command {name!r} {describe(ending)}" + (f": {said}" if said else ""))


class CommandTimedOut(Exception):
    """A command was ended because it took longer than its own limit."""

    kind = "timeout"

    def __init__(self, name: str, timeout: float, ending: Ending) -> None:
        self.name = name
        self.timeout = timeout
        self.seconds = ending.seconds
        super().__init__(f"command {name!r} took longer than its limit of {timeout:g} s and was ended")


def run_named_command(commands: Mapping[str, CommandSpec], job: CommandJob) -> object:
    """Perform a revision whose payload names one of `commands`: `{"command": "render", ...}`.

    Returns and raises as `run_command`; an unknown name is Fail of kind `invalid_payload`.
    """
    name = job.payload.get("command")
    spec = commands.get(name) if isinstance(name, str) else None
    if spec is not None:
        return run_command(spec, job)
    allowed = ", ".join(sorted(commands)) or "none: WORKERPOOL_COMMANDS names no file of commands"
    problem = "the payload names no command" if name is None else f"there is no command {name!r}"
    raise InvalidPayload(f'{problem}; "command" must be one of: {allowed}')


def run_command(spec: CommandSpec, job: CommandJob) -> dict[str, Any]:
    """Perform a revision with one command.

    Returns stdout: the JSON object that it is, else `{"output": text}`. Raises CommandFailed (another attempt is
    sensible), CommandTimedOut, OutputLimitExceeded, Cancelled, and Fail when the program cannot be started or its
    result not be kept.
    """
    if job.token.cancelled:
        raise Cancelled(job.token.reason or "cancelled")
    with work_directory() as directory:
        environment = {**inherited_environment(spec), **_job_variables(job, directory)}
        path = locate_program(spec, environment)
        run = environment[MARK] = uuid.uuid4().hex
        stdin = _write_json(directory / "payload.json", job.payload)
        base = job.base
        _write_json(directory / "content.json", base)
        text = _write(directory / "content.txt", content_text(base))
        if spec.stdin == "prompt":
            stdin = _write(directory / "prompt.txt", prompt_of(job.payload, str(text) if base is not None else None))
        program = Program(path, spec.argv, environment, spec.directory, run)
        ending = _run(spec, program, stdin, job)
    _record(spec, ending, job)
    return _judge(spec, ending, job)


def _run(spec: CommandSpec, program: Program, stdin_file: Path, job: CommandJob) -> Ending:
    limits = Limits(
        timeout=None if spec.timeout is None else spec.timeout.total_seconds(),
        grace=spec.grace.total_seconds(),
        max_output=spec.max_output,
        output_limit=spec.output_limit,
    )
    # A file as stdin never fills up and never breaks, whether the command reads it, closes it or ignores it.
    with stdin_file.open("rb") as stdin:
        try:
            return run_program(
                program,
                limits,
                stdin,
                should_stop=lambda: "cancelled" if job.token.cancelled else None,
                write_line=lambda line, stream: job.log.info(line, stream=stream),
            )
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise Fail(f"command {spec.name!r}: {program.path!r} cannot be started ({error.strerror})") from error
        except OSError as error:
            if error.strerror != "Exec format error":
                raise
            problem = "is no program for this machine and has no #! line"
            raise Fail(f"command {spec.name!r}: {program.path!r} {problem}") from error


def _job_variables(job: CommandJob, directory: Path) -> dict[str, str]:
    return {
        "WORKERPOOL_PAYLOAD_FILE": str(directory / "payload.json"),
        "WORKERPOOL_CONTENT_FILE": str(directory / "content.json"),
        "WORKERPOOL_CONTENT_TEXT_FILE": str(directory / "content.txt"),
        "WORKERPOOL_REVISION_ID": str(job.id),
        "WORKERPOOL_ITEM_KEY": job.item_key,
        "WORKERPOOL_ATTEMPT": str(job.attempt),
        "WORKERPOOL_FENCE": str(job.fence),
        "WORKERPOOL_IDEMPOTENCY_KEY": job.idempotency_key,
    }


def _write_json(file: Path, value: object) -> Path:
    return _write(file, json.dumps(value, ensure_ascii=False))


def _write(file: Path, text: str) -> Path:
    file.write_bytes(text.encode("utf-8", "replace"))
    return file


def _record(spec: CommandSpec, ending: Ending, job: CommandJob) -> None:
    if ending.leftovers and ending.stopped is None:
        job.log.warning(
            f"command {spec.name!r} left processes behind ({len(ending.leftovers)}), which were ended",
            processes=[f"{fact.name} ({fact.pid})" for fact in ending.leftovers[:20]],
        )
    if ending.survivors:
        job.log.warning(
            f"processes of command {spec.name!r} could not be killed ({len(ending.survivors)})",
            processes=[f"{fact.name} ({fact.pid})" for fact in ending.survivors[:20]],
        )
    write = job.log.info if ending.exit_status == 0 and ending.stopped is None else job.log.warning
    write(
        f"command {spec.name!r} {describe(ending)}",
        command=spec.name,
        exit_status=ending.exit_status,
        signal=signal_name(ending.signal),
        seconds=round(ending.seconds, 3),
        stopped=ending.stopped,
        stdout_bytes=ending.stdout.size,
        stderr_bytes=ending.stderr.size,
    )


def _judge(spec: CommandSpec, ending: Ending, job: CommandJob) -> dict[str, Any]:
    if ending.stopped == "timeout" and spec.timeout is not None:
        raise CommandTimedOut(spec.name, spec.timeout.total_seconds(), ending)
    printed = ending.stdout.size + ending.stderr.size
    # It may have ended by itself before anybody looked.
    if spec.output_limit is not None and printed > spec.output_limit and ending.stopped in {None, "output"}:
        raise OutputLimitExceeded(spec.output_limit, f"command {spec.name!r}")
    if ending.stopped is not None:
        raise Cancelled(job.token.reason or "cancelled")
    if ending.exit_status != 0:
        raise CommandFailed(spec.name, ending)
    return read_result(spec, ending.stdout)


def read_result(spec: CommandSpec, stdout: Excerpt) -> dict[str, Any]:
    """Return the JSON object that stdout is, else its text under `output`.

    Raises Fail when stdout begins like an object and was too long to be kept: half an object must never become an
    item's content.
    """
    text = stdout.text()
    if stdout.left_out:
        if text.lstrip().startswith("{"):
            problem = f"wrote {stdout.size} bytes of JSON, more than its max_output of {spec.max_output}"
            raise Fail(f"command {spec.name!r} {problem}; raise max_output in the file of WORKERPOOL_COMMANDS")
        return {"output": text, "truncated": True, "output_bytes": stdout.size}
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return {"output": text}
    return value if isinstance(value, dict) else {"output": text}


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def describe(ending: Ending) -> str:
    """Return in words how a command ended and how long it took."""
    if ending.exit_status is not None:
        how = f"exited with status {ending.exit_status}"
    elif ending.signal is not None:
        guess = " (perhaps out of memory)" if ending.signal == signal.SIGKILL and ending.stopped is None else ""
        how = f"was ended by {signal_name(ending.signal)}{guess}"
    else:
        how = "ended with an unknown exit status, which something else in this process has taken"
    return f"{how} after {ending.seconds:.1f} s"


def signal_name(number: int | None) -> str | None:
    """Return the name of a signal such as SIGKILL, its number as text when it has no name, None for None."""
    if number is None:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
