"""What a worker sends as text is what the server reads."""

import json
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workerpool.store.flight import Flight, as_text, prepare

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
ANY_LIST = st.lists(
    st.none() | TEXTS | st.sampled_from(["", "NULL", "null", '"', "\\\\", "{,}", " a ", "a\n\t"]), max_size=5
)


def sent(connection: psycopg.Connection, name: str, cast: str, *parameters: object) -> object:
    """Return what the server makes of *parameters*, as JSON."""
    prepare(connection, name, f"SELECT to_json({cast})::text".encode())
    flight = Flight(connection, psycopg.adapt.Transformer.from_context(connection), (name, parameters))
    return json.loads(flight.answer()[0][0])


def test_lists_of_texts_arrive_as_they_are(connection: psycopg.Connection) -> None:
    """Quotes, backslashes, braces, empty texts, the word NULL, and nothing at all."""
    prepare(connection, "texts", b"SELECT to_json($1::text[])::text")
    transformer = psycopg.adapt.Transformer.from_context(connection)

    @given(ANY_LIST)
    @settings(max_examples=200, deadline=None)
    def arrive(values: list[str | None]) -> None:
        assert json.loads(Flight(connection, transformer, ("texts", [values])).answer()[0][0]) == values

    arrive()


def test_numbers_booleans_and_ids_arrive_as_they_are(connection: psycopg.Connection) -> None:
    """Each kind of parameter that a turn has, alone and in a list."""
    token = uuid4()
    assert sent(connection, "ids", "$1::bigint[]", [1, None, -(2**62)]) == [1, None, -(2**62)]
    assert sent(connection, "uuids", "$1::uuid[]", [token]) == [str(token)]
    assert sent(connection, "flags", "$1::boolean[]", [True, False]) == [True, False]
    assert sent(connection, "delays", "$1::double precision[]", [0.1, 1e-9]) == [0.1, 1e-9]
    assert sent(connection, "nothing", "$1::text IS NULL", None) is True
    assert sent(connection, "text", "$1::text", 'a"b') == 'a"b'


@pytest.mark.parametrize("value", ["a\0b", ["fine", "a\0b"], "\ud800", ["\ud800"]])
def test_what_cannot_be_a_text_is_refused_before_it_is_sent(value: object) -> None:
    """A NUL would end the text early, half a character is none."""
    with pytest.raises(psycopg.DataError):
        as_text(value)
