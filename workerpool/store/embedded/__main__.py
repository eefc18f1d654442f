"""The program behind `Server.argv()` and the minder: `python -m workerpool.store.embedded serve|mind|check`.

Owns reading its own command line and turning an error into one sentence and exit 78. Does nothing else.
"""

import argparse
import os
import sys
from pathlib import Path

from workerpool.store.embedded import account, cluster, serving
from workerpool.store.embedded.place import Server, make_root


def main() -> int:
    """Run one verb; returns the exit code, 78 when the machine or the home does not allow a server."""
    parser = argparse.ArgumentParser(prog="workerpool.store.embedded")
    parser.add_argument("verb", choices=["serve", "mind", "check"])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--schema", default="workerpool")
    parser.add_argument("--bin", type=Path, default=None)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--lock", type=int, default=-1)
    given = parser.parse_args()
    settings = tuple((name, value) for name, _, value in (pair.partition("=") for pair in given.set))
    server = Server(given.home, given.schema, given.bin, settings)
    try:
        if given.verb == "mind":
            return serving.mind(server, given.lock)
        if given.verb == "check":
            make_root(server)
            cluster.check_major(server)
            sys.stdout.write(f"{account.choose(server).says()}\n")
            return os.EX_OK
        serving.serve(server, given.parent)
    except Exception as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_CONFIG
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
