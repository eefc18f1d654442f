"""``python -m workerpool.remote``: a remote worker from the shell, for a supervisor to start again when it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from workerpool import logs
from workerpool.core.durations import BadDuration, parse_duration
from workerpool.handlers.registry import HandlerModuleBroken
from workerpool.remote import HandlerStuck, Refused, RemoteWorker

TOKEN = "WORKERPOOL_REMOTE_TOKEN"  # noqa: S105 - where it stands
#: Exit codes, as those of `workerpool start` (DESIGN.md 4.4).
FAILED, USAGE, HANDLERS, KILLED, CONFIG = 1, 2, 4, 5, 78
EPILOG = f"""
The token stands in {TOKEN} or in the file of --token-file, never in the arguments, which everybody on the machine can
read. TERM: the running handler may finish within the grace, else its revision is given back. Exit codes: 0 stopped as
asked; 1 a handler did not stop when it had to (start again); 2 usage; 4 a handler module cannot be loaded; 5 stopped,
and a handler had to be cut off; 78 the server refuses this worker.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a remote worker; returns the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        token = _token(asked.token_file)
    except OSError as error:
        parser.error(f"--token-file {asked.token_file}: {error.strerror}")
    logs.configure(asked.log_level, asked.log_format, secrets=[token] if token else ())
    try:
        modules = [each for several in asked.handlers for each in several.split(",") if each]
        times = {"grace": asked.grace, "timeout": asked.timeout, "cancel_grace": asked.cancel_grace}
        worker = RemoteWorker(asked.url, handlers=modules, token=token, worker=asked.worker, **times)
    except HandlerModuleBroken as error:
        logs.get("remote").error("handlers.failed", module=error.module, why=error.why, exc_info=error.__cause__)
        return HANDLERS
    except ValueError as error:
        parser.error(str(error))
    return _run(worker)


def _run(worker: RemoteWorker) -> int:
    log = logs.get("remote")
    try:
        worker.run()
    except Refused as error:
        log.error("worker.failed", error=str(error))
        return CONFIG
    except HandlerStuck as error:
        log.error("worker.failed", error=str(error))
        return KILLED if worker.is_stopping else FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m workerpool.remote", description=__doc__, epilog=EPILOG)
    parser.add_argument("--url", required=True, help="the server, such as http://127.0.0.1:3031")
    parser.add_argument(
        "--handlers", required=True, action="append", metavar="MODULE", help="a .py file or a dotted name; repeatable"
    )
    parser.add_argument("--worker", default="R1", metavar="NAME", help="tells several with one token apart (R1)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"holds the token; else {TOKEN} does")
    for name, usual, told in (
        ("--grace", "30s", "how long a running handler may go on after TERM"),
        ("--timeout", "1h", "of an attempt, where nothing else says one"),
        ("--cancel-grace", "10s", "from asking a handler to stop to giving this process up"),
    ):
        parser.add_argument(
            name, type=_duration, default=parse_duration(usual), metavar="TIME", help=f"{told} ({usual})"
        )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.add_argument("--log-format", choices=["auto", "console", "json"], default="auto")
    return parser


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except BadDuration as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _token(file: Path | None) -> str | None:
    if file is not None:
        return file.read_text(encoding="utf-8").strip()
    # (no process that a handler starts is to find it)
    return os.environ.pop(TOKEN, "").strip() or None


if __name__ == "__main__":
    code = main()
    logs.flush()
    sys.stdout.flush()
    os._exit(code)  # a handler that runs on does not keep the process
