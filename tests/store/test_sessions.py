"""How long somebody waits for one of the shared connections."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.process.daemon import until
from workerpool.store import sessions as sessions_module
from workerpool.store.sessions import NoSession, Sessions


@pytest.fixture
def sessions(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    """Two connections at most, and little patience."""
    monkeypatch.setattr(sessions_module, "PATIENCE", timedelta(seconds=1.0))
    monkeypatch.setattr(sessions_module, "AWAY", timedelta(seconds=0.25))
    made = Sessions(database, "workerpool", "test", 2)
    made.open()
    yield made
    made.close()


def in_vain(sessions: Sessions) -> str:
    """Ask for a session that is not to be had; returns what is said."""
    with pytest.raises(NoSession) as caught, sessions.lend():
        pass
    return str(caught.value)


def answers(sessions: Sessions) -> bool:
    """Tell whether a session is to be had."""
    with contextlib.suppress(NoSession), sessions.lend() as session:
        return bool(session.rows("system"))
    return False


def lose(sessions: Sessions, folder: Path) -> None:
    """Let nobody connect any more."""
    sessions._pool.kwargs = {**sessions._pool.kwargs, "host": str(folder), "hostaddr": ""}  # type: ignore[dict-item]


def test_a_database_that_is_away_is_not_awaited_by_everybody(sessions: Sessions, tmp_path: Path) -> None:
    """The first wait; once that was in vain the others hear so, until somebody is connected again."""
    reached = sessions._pool.kwargs
    lose(sessions, tmp_path)
    said = [in_vain(sessions) for _ in range(3)]
    assert (said[0], said[-1]) == tuple(f"no connection to the database within {each} s" for each in ("1", "0.25"))
    sessions._pool.kwargs = reached
    until(lambda: answers(sessions), what="connected again")
    lose(sessions, tmp_path)
    with sessions.lend():
        assert in_vain(sessions).endswith("within 1 s")


def test_one_connection_more_that_is_refused_makes_nobody_hasty(sessions: Sessions, tmp_path: Path) -> None:
    """Where the one that is there is lent, the others wait for it as long as before."""
    with sessions.lend():
        lose(sessions, tmp_path)
        assert {in_vain(sessions) for _ in range(3)} == {"no connection to the database within 1 s"}
