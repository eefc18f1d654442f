"""The boundary around user code: whatever comes out of a handler becomes an outcome that the database can hold."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.core.errors import Cancelled, Fail, InvalidPayload
from workerpool.core.outcome import Outcome
from workerpool.core.revision import Claim
from workerpool.handlers.registry import HandlerSpec
from workerpool.job.job import Job
from workerpool.job.token import CancellationToken
from workerpool.store.line import LineLost
from workerpool.worker.perform import DEFAULT_OUTPUT_LIMIT, STOPPING, TIMED_OUT, NotJson, Performer, encode


class Desk:
    """Takes everything and keeps nothing."""

    def read_base(self, claim: Claim) -> object | None:
        raise LineLost(ConnectionError("gone"))

    def write_log(self, *arguments: object) -> None:
        pass

    def write_progress(self, *arguments: object) -> None:
        pass

    def conclude(self, claim: Claim, outcome: Outcome) -> Outcome:
        return outcome


class Still:
    """A footing that nothing moves."""

    def restore(self) -> bool:
        return False


def perform(
    call: Callable[[Job], object],
    token: CancellationToken | None = None,
    payload: str = "{}",
    max_attempts: int = 3,
    **spec: Any,
) -> Outcome:
    """Run one handler for one claim."""
    specs = {"it": HandlerSpec("it", call, **spec)}
    performer = Performer(specs, Desk(), 3, Still())  # type: ignore[arg-type]
    claim = Claim(1, "item", "it", payload, 1, None, 0, None, 1, None, uuid4(), 0.0)
    outcome = performer.perform(claim, token or CancellationToken(), max_attempts)
    assert outcome.token == claim.token
    return outcome


numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
any_text = st.text(st.characters(codec=None, exclude_categories=()))
json_values = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=20,
)


def texts(value: object) -> list[str]:
    """Every text in a JSON value, keys included."""
    match value:
        case str():
            return [value]
        case list():
            return [text for each in value for text in texts(each)]
        case dict():
            return [text for pair in value.items() for each in pair for text in texts(each)]
        case _:
            return []


@given(json_values)
def test_a_result_is_stored_as_it_is_or_refused(value: object) -> None:
    """What JSON and PostgreSQL both hold comes back the same; a NUL or a lone surrogate is refused with the reason."""
    hard = any(letter == "\0" or "\ud800" <= letter <= "\udfff" for text in texts(value) for letter in text)
    try:
        text = encode(value)
    except NotJson:
        assert hard
    else:
        assert json.loads(text) == value
        assert not hard


def test_a_text_that_only_looks_like_a_nul_is_a_result() -> None:
    """A backslash and u0000 in a text are no NUL, whatever stands before them."""
    for text in ("\\u0000", "\\\\u0000", "a\\\\\\u0000"):
        assert json.loads(encode({"text": text})) == {"text": text}
    for text in ("\x00", "\\\x00", "\\\\\x00"):
        with pytest.raises(NotJson, match="NUL"):
            encode([text])


@given(any_text, st.sampled_from([ValueError, Fail, BaseException, SystemExit]))
def test_any_message_of_any_error_is_recorded(text: str, kind: type[BaseException]) -> None:
    """The outcome's message is text that PostgreSQL takes."""

    def fail(job: Job) -> None:
        raise kind(text)

    outcome = perform(fail)
    assert outcome.verdict == ("failed" if kind is Fail else "retried")
    assert outcome.message is not None
    assert "\x00" not in outcome.message
    outcome.message.encode()


def cancelled(reason: str) -> CancellationToken:
    """A token that was cancelled for *reason*."""
    token = CancellationToken()
    token.cancel(reason)
    return token


@pytest.mark.parametrize(
    ("reason", "verdict", "kind"),
    [(TIMED_OUT, "retried", "timeout"), (STOPPING, "released", None), ("an operator", "cancelled", "cancelled")],
)
def test_why_a_token_was_cancelled_decides(reason: str, verdict: str, kind: str | None) -> None:
    """A time limit is a timeout, a stopping worker releases, anybody else cancels."""
    outcome = perform(lambda job: job.checkpoint(), cancelled(reason))
    assert (outcome.verdict, outcome.kind) == (verdict, kind)


def test_an_error_during_a_cancellation_is_that_error() -> None:
    """Only Cancelled itself is a cancellation."""

    def fail(job: Job) -> None:
        try:
            job.checkpoint()
        except Cancelled:
            raise ValueError("while cleaning up") from None

    assert perform(fail, cancelled("an operator")).kind == "error"


def test_a_database_that_is_away_is_not_the_handlers_fault() -> None:
    """A read that lost the connection gives the revision back, uncounted."""
    assert perform(lambda job: job.base).verdict == "released"


def test_a_payload_that_is_no_object_fails_at_once() -> None:
    """The handler is not called."""
    outcome = perform(lambda job: pytest.fail("called"), payload="[1]")
    assert (outcome.verdict, outcome.kind) == ("failed", "invalid_payload")


def test_a_handler_can_refuse_a_payload() -> None:
    """InvalidPayload ends the revision at its first attempt."""

    def refuse(job: Job) -> None:
        raise InvalidPayload("no colour")

    assert perform(refuse).kind == "invalid_payload"


def test_an_interrupt_in_a_coroutine_does_not_harm_the_next() -> None:
    """A KeyboardInterrupt from a coroutine fails its revision; the next coroutine runs as if nothing had been."""
    calls: list[str] = []

    async def both(job: Job) -> str:
        calls.append("x")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return "fine"

    specs = {"it": HandlerSpec("it", both, is_async=True)}
    performer = Performer(specs, Desk(), 3, Still())  # type: ignore[arg-type]
    claim = Claim(1, "item", "it", "{}", 1, None, 0, None, 1, None, uuid4(), 0.0)
    assert performer.perform(claim, CancellationToken(), 3).verdict == "retried"
    assert performer.perform(claim, CancellationToken(), 3).result == '"fine"'


def test_limits_come_from_the_row_then_the_handler_then_the_pool() -> None:
    """The nearest one that is set."""
    own = {"memory_limit": 1 << 20, "output_limit": 1 << 10}
    specs = {"it": HandlerSpec("it", print, timedelta(seconds=5), 7, **own), "plain": HandlerSpec("plain", print)}
    performer = Performer(specs, Desk(), 3, Still())  # type: ignore[arg-type]
    claim = Claim(1, "item", "it", "{}", 1, 2, 0, 1.5, 1, None, uuid4(), 0.0)
    bare = Claim(1, "item", "it", "{}", 1, None, 0, None, 1, None, uuid4(), 0.0)
    plain = Claim(1, "item", "plain", "{}", 1, None, 0, None, 1, None, uuid4(), 0.0)
    assert performer.limits(claim, 60.0) == (1.5, 2, 1 << 20, 1 << 10)
    assert performer.limits(bare, 60.0) == (5.0, 7, 1 << 20, 1 << 10)
    assert performer.limits(plain, 60.0) == (60.0, 3, 0, DEFAULT_OUTPUT_LIMIT)
