"""What people are told when something is refused, and with which exit code.

Owns: the exit codes of the contract and the sentences for errors of other rooms. Invariant: every message says what,
and what to do.
"""

from __future__ import annotations

from typing import IO, Any

import click

EXIT_FAILED, EXIT_USAGE, EXIT_NO_SUCH, EXIT_REFUSED = 1, 2, 3, 4
EXIT_NO_DATABASE, EXIT_TIMED_OUT, EXIT_CONFIG = 69, 75, 78


class Refused(click.ClickException):
    """Something that cannot be done, said in one sentence, with a hint and an exit code."""

    def __init__(self, message: str, code: int = EXIT_FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence, and the hint on a line of its own."""
        click.echo(f"workerpool: {self.message}", err=True, file=file)
        if self.hint:
            click.echo(f"  {self.hint}", err=True, file=file)


def no_such(what: str, hint: str = "") -> Refused:
    """Return the refusal for something that is not there."""
    return Refused(what, EXIT_NO_SUCH, hint)


def explain(error: Exception) -> Refused | None:
    """Return the refusal for an error of the store or the configuration; None for an unexpected one."""
    from workerpool.api.service.refusals import NoSuchItem, NoSuchRevision, Refusal
    from workerpool.config import BadSettings
    from workerpool.core.wording import safe
    from workerpool.store import failures
    from workerpool.store.enqueueing import CannotEnqueue, DedupeContended, NotAdded

    if isinstance(error, Refusal):
        codes = {"missing": EXIT_NO_SUCH, "invalid": EXIT_USAGE}
        hint = "`workerpool items` lists what there is" if isinstance(error, (NoSuchRevision, NoSuchItem)) else ""
        return Refused(safe(error.detail), codes.get(error.kind, EXIT_REFUSED), hint)
    if isinstance(error, BadSettings):
        return Refused(str(error), EXIT_CONFIG)
    if isinstance(error, CannotEnqueue):
        return Refused(str(error), EXIT_USAGE)
    if isinstance(error, DedupeContended):
        return Refused(str(error), EXIT_TIMED_OUT)
    if isinstance(error, NotAdded):
        return Refused(str(error), EXIT_FAILED)
    if isinstance(error, OSError) and error.filename is not None:
        return Refused(f"{error.filename}: {error.strerror}", EXIT_CONFIG)
    return _of_store(failures.describe(error))


def _of_store(told: tuple[str, str, str] | None) -> Refused | None:
    if told is None:
        return None
    kind, message, hint = told
    codes = {"unavailable": EXIT_NO_DATABASE, "busy": EXIT_TIMED_OUT, "config": EXIT_CONFIG, "refused": EXIT_REFUSED}
    return Refused(message, codes.get(kind, EXIT_USAGE), hint)
