"""Recurring schedules: which times are due, over clock changes and outages."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.core.cron import LATE, MOST, BadCron, BadTimezone, due, parse

BASE = datetime(2026, 3, 1, tzinfo=UTC)


def local(cron: str, zone: str, after: datetime, how_many: int) -> list[str]:
    """The next times, as a clock on the wall there shows them."""
    return [time.strftime("%m-%d %H:%M %Z") for time in parse(cron, zone).upcoming(after, how_many)]


def test_a_time_that_a_clock_change_skips_comes_once() -> None:
    """2026-03-29 has no 02:30 in Berlin: it comes right after the change."""
    after = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert local("30 2 * * *", "Europe/Berlin", after, 2) == ["03-29 03:00 CEST", "03-30 02:30 CEST"]


def test_a_time_that_a_clock_change_repeats_comes_once() -> None:
    """2026-10-25 has 02:30 twice in Berlin."""
    after = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert local("30 2 * * *", "Europe/Berlin", after, 2) == ["10-25 02:30 CEST", "10-26 02:30 CET"]


@pytest.mark.parametrize("macro", ["@hourly", "@daily", "@Weekly", "@monthly", "@yearly"])
def test_macros_are_understood(macro: str) -> None:
    """The names that cron knows, but @reboot."""
    assert parse(macro, "UTC").upcoming(BASE, 1)[0] > BASE


@pytest.mark.parametrize("text", ["", "* * * *", "61 * * * *", "@reboot", "every day", "0 0 30 2 *", "* * * * * * *"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    """Also one that never comes; the message says what is allowed."""
    with pytest.raises(BadCron, match="allowed: five fields"):
        parse(text, "UTC")


@pytest.mark.parametrize("text", ["", "Europe/Belin", "CEST2", "../etc/passwd", "/etc/localtime"])
def test_what_is_no_time_zone_is_refused(text: str) -> None:
    """With the nearest one where there is one."""
    with pytest.raises(BadTimezone, match="did you mean Europe/Berlin" if "Belin" in text else "allowed: a name"):
        parse("* * * * *", text)


def test_a_new_schedule_only_finds_out_when_it_is_due() -> None:
    """Nothing is enqueued for the past of a schedule that has just been made."""
    found = due(parse("0 * * * *", "UTC"), "all", None, BASE + timedelta(minutes=5))
    assert (found.times, found.next_run) == ((), BASE + timedelta(hours=1))


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 3 * * *", "30 2 * * sun", "0 0 29 2 *", "15 10 1 1 *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    st.integers(0, 400_000),
    st.integers(0, 60 * 24 * 3) | st.integers(0, 60 * 24 * 800),
)
def test_every_time_is_enqueued_missed_or_still_to_come(cron: str, zone: str, start: int, minutes: int) -> None:
    """`all`, round after round, gives just the times that passed; `once` the latest; `skip` none that is late."""
    parsed = parse(cron, zone)
    first = next(parsed.after(BASE + timedelta(minutes=start)))
    now = first + timedelta(minutes=minutes if cron[0] in "013" else minutes % 5000)
    times, next_run = [], first
    while next_run <= now:
        found = due(parsed, "all", next_run, now)
        assert 0 < len(found.times) <= MOST
        times += found.times
        next_run = found.next_run
    passed = [first]
    for time in parsed.after(first):
        if time > now:
            break
        passed.append(time)
    assert times == passed
    once, skip = due(parsed, "once", first, now), due(parsed, "skip", first, now)
    recent = tuple(time for time in passed if now - time <= LATE)
    assert once.times == (recent or (passed[-1],))
    assert skip.times == recent
    assert once.next_run == skip.next_run == next_run > now


def test_a_long_outage_is_no_long_computation() -> None:
    """A schedule of every second, missed for ten years: the latest is found at once."""
    cron, first = parse("* * * * * *", "UTC"), datetime(2016, 1, 1, tzinfo=UTC)
    found = due(cron, "once", first, BASE)
    assert (len(found.times), found.times[-1], found.next_run) == (61, BASE, BASE + timedelta(seconds=1))
    assert len(due(cron, "all", first, BASE).times) == MOST
