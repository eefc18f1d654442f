"""JSON Pointer (RFC 6901) finds what it was made for, in any value. (Its own examples: test_webhooks.)"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.api.pointer import BadPointer, NotFound, parse

NAMES = st.text(max_size=5) | st.just("~1/~0")
VALUES = st.recursive(
    st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every place of a value, written as the RFC has it, and what stands there."""
    yield at, value
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from places(member, f"{at}/{str(name).replace('~', '~0').replace('/', '~1')}")


@given(VALUES)
def test_every_place_is_found_by_its_pointer(value: Any) -> None:
    """Whatever the names hold: slashes, tildes, nothing; what is found is that very value."""
    for text, expected in places(value):
        assert parse(text).find(value) is expected
        assert str(parse(text)) == text


@given(st.text(max_size=12), VALUES)
def test_any_text_finds_something_or_says_that_there_is_nothing(text: str, value: Any) -> None:
    """No text makes another error, in no value."""
    with contextlib.suppress(BadPointer, NotFound):
        parse(text).find(value)


@pytest.mark.parametrize("step", ["-1", "+1", "1.0", "01", "1 ", "²", "१", "-", "9" * 400, ""])
def test_a_place_in_a_list_is_a_plain_number(step: str) -> None:
    """Counted from nought, without sign, leading nought or the digits of other scripts."""
    with pytest.raises(NotFound):
        parse(f"/{step}").find(["a", "b", "c"])
    assert parse("/1").find(["a", "b", "c"]) == "b"
