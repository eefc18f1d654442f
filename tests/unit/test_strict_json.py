"""Bodies: JSON as RFC 8259 has it, and no more than the database holds (FAULTS F54 to F57)."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.api.strict_json import DEEPEST, MOST_DIGITS, BadJson, read

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


@given(VALUES, st.booleans())
def test_what_is_json_is_read_as_it_was_written(value: Any, ascii_only: bool) -> None:
    """Whatever is written, escaped or not."""
    assert read(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting"),
        (b"[1,]", "Expecting|Illegal"),
        (b"NaN", "NaN is no number"),
        (b'{"a": [-Infinity]}', "-Infinity is no number"),
        (b"1e400", "beyond what a number can be"),
        (b'{"a": 1, "b": {"a": 1, "a": 2}}', "'a' stands twice"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'"\xff"', "not UTF-8"),
        (rb'"\ud800"', "half of a surrogate pair"),
        (rb'{"\udfff": 1}', "half of a surrogate pair"),
        (rb'["a\u0000b"]', "NUL"),
        (b'"a\x00b"', "."),
        (b"1" * (MOST_DIGITS + 1), "digits"),
        (b"[" * 100_000, "deep in each other"),
        (b'{"a":' * 100_000, "deep in each other"),
    ],
)
def test_what_is_not_taken_is_said(body: bytes, told: str) -> None:
    """Bad input gets a sentence, and never an error of another kind."""
    with pytest.raises(BadJson, match=told):
        read(body)


def test_what_looks_bad_and_is_not_is_taken() -> None:
    """Brackets and digits inside of a text, pairs of surrogates, the deepest that is allowed."""
    assert read(json.dumps("[" * 1000 + "1" * 2000).encode()) == "[" * 1000 + "1" * 2000
    assert read(rb'"\ud83d\ude00"') == "\U0001f600"
    assert read(b"[" * DEEPEST + b"]" * DEEPEST) is not None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_sentence(body: bytes) -> None:
    """No bytes make another error."""
    try:
        read(body)
    except BadJson:
        return


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"k%d":0' % n for n in range(50_000)) + b',"z":0,"z":1}',
        b"1" * (MOST_DIGITS + 1) + b'"' + b'\\"' * 40_000,
        b'"' + b"[" * (DEEPEST + 1) + b'\\"' * 40_000,
        b"[" + b",".join([b"1" * MOST_DIGITS] * 6000) + b"]",
        b"[" + b",".join([b'[{"":"[{"}]'] * 30_000) + b"]",
    ],
    ids=["a name twice, last", "digits, then quotes", "a text without an end", "long numbers", "many brackets"],
)
def test_the_time_grows_with_the_body_and_not_with_its_square(body: bytes) -> None:
    """Whatever is worst is read, or refused, in a moment: meanwhile nobody else is answered."""
    began = time.process_time()
    with contextlib.suppress(BadJson):
        read(body)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("text", ["\\", '\\"[', '"', '\\\\"', "[{", "\\[", "]]"])
def test_brackets_count_outside_of_texts_and_there_only(text: str) -> None:
    """Whatever backslashes and quotes a text holds, it neither hides a bracket nor adds one."""
    deepest: Any = {text: text}
    for _ in range(DEEPEST - 1):
        deepest = [text, deepest, text]
    assert read(json.dumps(deepest).encode()) == deepest
    with pytest.raises(BadJson, match="deep in each other"):
        read(json.dumps([deepest]).encode())
