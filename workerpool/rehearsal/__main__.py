"""``python -m workerpool.rehearsal``: one scripted model until a signal ends it; it writes its URL first."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from workerpool.rehearsal.script import BadRules, Reply, rules
from workerpool.rehearsal.server import ModelServer

EXIT_CONFIG = 78


def main(arguments: list[str] | None = None) -> int:
    """Run a server; returns the exit code."""
    parser = argparse.ArgumentParser("python -m workerpool.rehearsal", description="A model that answers by script.")
    parser.add_argument("--port", type=int, default=0, help="where it listens on 127.0.0.1 (default: any free port)")
    parser.add_argument("--script", metavar="FILE", help="a JSON list of rules (default: it repeats what was said)")
    given = parser.parse_args(arguments)
    try:
        script = rules(given.script) if given.script else lambda asked: Reply(text=asked.last_user or "Hello.")
        over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
        with ModelServer(script, port=given.port) as model:
            sys.stdout.write(f"{model.url}\n")
            sys.stdout.flush()
            over.wait()
    except (BadRules, OSError, OverflowError) as error:
        sys.stderr.write(f"workerpool.rehearsal: {error}\n")
        return EXIT_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
