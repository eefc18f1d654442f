"""Durations are read and written in one form everywhere."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.core.durations import BadDuration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("2m", 120), ("1h", 3600), ("30d", 2592000), ("5", 5), ("0.5", 0.5), (" 1.5 h ", 5400)],
)
def test_every_allowed_form_is_read(text: str, seconds: float) -> None:
    """Durations take 500ms, 5s, 2m, hours, days, decimals, and bare seconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "+1", "1e3", "5 minutes", "1h30m", "nan", "inf", "٥s", "5S", "1.", ".5", "9" * 18 + "d"]
)
def test_other_forms_are_refused_with_what_is_allowed(text: str) -> None:
    """A bad duration is refused with the text and the allowed forms."""
    with pytest.raises(BadDuration) as refused:
        parse_duration(text)
    assert refused.value.text == text
    assert repr(text) in str(refused.value)
    assert "500ms" in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (600, "10m"), (90, "90s"), (0.25, "250ms"), (1.5, "1500ms"), (0.0005, "0.5ms"), (86400, "1d")],
)
def test_the_largest_whole_unit_is_written(seconds: float, text: str) -> None:
    """People read 10m, not 600s, and never a rounded value."""
    assert format_duration(timedelta(seconds=seconds)) == text


def test_a_negative_length_is_refused() -> None:
    """There is no negative duration in the program."""
    with pytest.raises(ValueError, match="not negative"):
        format_duration(timedelta(seconds=-1))


@given(st.timedeltas(min_value=timedelta(0)))
def test_what_is_written_is_read_back_exactly(length: timedelta) -> None:
    """parse(format(x)) is x for every length."""
    assert parse_duration(format_duration(length)) == length
