"""What a command can see: its environment variables and where its program is.

Owns the allow-list. It does not start anything.

Invariant: of the daemon's own variables a command gets only the two marks by which orphans are found; never the
database's address, never a token.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from workerpool.core.errors import Fail
from workerpool.handlers.command_config import RESERVED_PREFIX, CommandSpec
from workerpool.link.tether import RUN, WORKER

USUAL = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR")
MARKS = (RUN, WORKER)


def inherited_environment(spec: CommandSpec, source: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a command gets in every run: the usual few, what its spec names, its fixed values, and the marks.

    `source` is the daemon's environment, by default this process's.
    """
    source = os.environ if source is None else source
    allowed = (*USUAL, *spec.environment)
    exact = {name for name in allowed if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in allowed if name.endswith("*"))
    environment = {
        name: value
        for name, value in source.items()
        if (name in exact or name.startswith(prefixes)) and not name.upper().startswith(RESERVED_PREFIX)
    }
    environment.setdefault("PATH", os.defpath)
    environment.update(spec.variables)
    environment.update({name: source[name] for name in MARKS if name in source})
    return environment


def locate_program(spec: CommandSpec, environment: Mapping[str, str]) -> str:
    """Return the path of a spec's program, looked for in the command's own PATH.

    Raises Fail, for another attempt would not find it either.
    """
    program, path = spec.argv[0], environment.get("PATH", os.defpath)
    if os.sep in program:
        file = Path(spec.directory or os.curdir, program)
        if not file.is_file():
            raise Fail(f"command {spec.name!r}: there is no program {str(file)!r}")
        if not os.access(file, os.X_OK):
            raise Fail(f"command {spec.name!r}: {str(file)!r} is not executable (chmod +x makes it so)")
        return str(file.absolute())
    found = shutil.which(program, path=path)
    if found is not None:
        return os.path.abspath(found)
    for folder in filter(None, path.split(os.pathsep)):
        if (Path(folder) / program).is_file():
            raise Fail(f"command {spec.name!r}: {str(Path(folder) / program)!r} is not executable")
    raise Fail(f"command {spec.name!r}: the program {program!r} was not found in PATH ({path})")
