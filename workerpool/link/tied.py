"""Become a module's program, tied to whoever started it: ``python -m workerpool.link.tied PARENT MODULE ARGUMENT...``.

Invariant: the tie comes first, before anything is imported that takes long (R26).
"""

from __future__ import annotations

import os
import runpy
import sys

from workerpool.link.tether import die_with_parent


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a child of this process that runs *module* and dies with this process."""
    return (sys.executable, "-m", "workerpool.link.tied", str(os.getpid()), module, *arguments)


def main() -> None:
    """Tie this process to its parent, and be the program."""
    _, parent, *sys.argv[:] = sys.argv
    die_with_parent(int(parent))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
