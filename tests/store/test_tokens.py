"""R12 and R15 for work tokens: none begins during a pause, and none that was left out of a proof is alive again."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from tests.store.driving import Session, Waiting, blocked, until


@pytest.fixture
def holder(database: str) -> Iterator[Session]:
    """A program that wants to be active."""
    with Session(database, "holder") as session:
        session.sql("DELETE FROM {schema}.work_tokens")
        yield session


@pytest.fixture
def operator(database: str) -> Iterator[Session]:
    """Somebody who pauses, and looks."""
    with Session(database, "operator") as session:
        yield session


def activate(session: Session, lease: str = "8 s") -> UUID | None:
    """Ask for a token."""
    found = session.call("activate_token", kind="orchestrator", holder="deploy", host="web1", pid=1, lease=lease)
    token = found[0][0]
    assert token is None or isinstance(token, UUID)
    return token


def renew(session: Session, *tokens: UUID | None) -> list[UUID]:
    """Renew tokens; returns those that still count."""
    return [row[0] for row in session.call("renew_tokens", ids=list(tokens), lease="8 s")]


def pause(session: Session) -> None:
    """Pause everything."""
    session.sql("SELECT {schema}.pause('all', 'drain', 'for a test', 'eve', 'eve', NULL)")


def is_safe(session: Session) -> bool:
    """Whether the proof holds at this moment."""
    return bool(session.sql("SELECT is_safe FROM {schema}.safe_state")[0][0])


def count(session: Session) -> int:
    """How many orchestrators count as active."""
    return int(session.sql("SELECT active FROM {schema}.active_counts WHERE kind = 'orchestrator'")[0][0])


def test_a_token_counts_until_it_is_given_back(holder: Session, operator: Session) -> None:
    """Derived from its row, and the row says whose it is."""
    token = activate(holder)
    told = operator.sql("SELECT kind, holder, host, pid FROM {schema}.work_tokens")
    assert (count(operator), told) == (1, [("orchestrator", "deploy", "web1", 1)])
    assert renew(holder, token) == [token]
    assert holder.call("release_token", id=token) == [(True,)]
    assert holder.call("release_token", id=token) == [(False,)]
    assert count(operator) == 0


def test_a_pause_waits_for_an_activation_and_no_activation_comes_after_it(
    connection: psycopg.Connection, database: str, holder: Session, operator: Session
) -> None:
    """The race, made to happen: who was first counts in the proof; who came during the pause has nothing."""
    with Session(database, "late") as late:
        with holder.transaction():
            first = activate(holder)
            waiting = Waiting(lambda: pause(operator))
            assert blocked(connection, operator) == "advisory"
            assert activate(late) is None, "a pause is about to be"
        waiting.result()
        assert activate(late) is None
        assert (count(operator), is_safe(operator)) == (1, False)
        assert renew(holder, first) == [first], "what is active may go on"
        holder.call("release_token", id=first)
        assert is_safe(operator)
        operator.sql("SELECT {schema}.resume(NULL, NULL, 'tested', 'eve')")
        assert activate(late) is not None


def test_a_lease_that_is_over_cannot_be_renewed(holder: Session, operator: Session) -> None:
    """Its holder may be gone, or asleep: the token stops counting, and stays lost."""
    token = activate(holder, "0 s")
    assert count(operator) == 0
    assert renew(holder, token) == []
    assert operator.call("sweep_tokens") == [(1,)]
    assert operator.call("sweep_tokens") == [(0,)]


def test_a_renewal_under_way_keeps_the_pool_unsafe(holder: Session, operator: Session) -> None:
    """The lease is over for whoever looks, but its renewal may commit yet: it is neither swept nor left out."""
    token = activate(holder, "300 ms")
    pause(operator)
    with holder.transaction():
        assert renew(holder, token) == [token]
        until(lambda: count(operator) == 0, "the lease that others see is over")
        assert operator.call("sweep_tokens") == [(0,)]
        assert not is_safe(operator)
    assert count(operator) == 1
    assert not is_safe(operator)


def test_a_dead_holder_does_not_hold_the_pool(holder: Session, operator: Session) -> None:
    """What its lease has left is swept by whoever waits for the proof, and by the next activation."""
    activate(holder, "0 s")
    pause(operator)
    assert not is_safe(operator)
    operator.call("sweep_tokens")
    assert is_safe(operator)
    operator.sql("SELECT {schema}.resume(NULL, NULL, 'tested', 'eve')")
    activate(holder, "0 s")
    activate(holder)
    assert operator.sql("SELECT count(*) FROM {schema}.work_tokens") == [(1,)]


def test_a_look_at_the_past_is_refused(holder: Session) -> None:
    """In a transaction that sees an old pause_state the guard would be worth nothing."""
    holder.sql("SET default_transaction_isolation = 'repeatable read'")
    with pytest.raises(errors.InvalidTransactionState, match="read committed"):
        activate(holder)
