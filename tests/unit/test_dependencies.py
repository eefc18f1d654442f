"""What the package imports is installed with it: a user has no tools of its developers."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.unit.test_licences import installed, name_of

PACKAGE = Path(__file__).parents[2] / "workerpool"


def imported() -> dict[str, Path]:
    """The top-level modules of others that the package imports anywhere, and a file that does."""
    found: dict[str, Path] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found.update({name.partition(".")[0]: file for name in names})
    return {
        name: file for name, file in found.items() if name not in {*sys.stdlib_module_names, "workerpool", "pytest"}
    }


def test_what_is_imported_is_installed_without_the_tools_of_developers() -> None:
    """Each import is of a distribution that the package, with its extras but `dev`, brings along. (pytest is not: the
    plugin is for who has it.)
    """
    there = installed()
    owners = packages_distributions()
    missing = {
        name: str(file.relative_to(PACKAGE))
        for name, file in imported().items()
        if not any(name_of(owner) in there for owner in owners.get(name, ()))
    }
    assert missing == {}
