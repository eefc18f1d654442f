"""What every request passes: from which page it comes, for which name it asks, how often, and how a path is read."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from workerpool.api.http import gate, rate
from workerpool.api.http.gate import is_from_here
from workerpool.api.http.guard import Subject
from workerpool.api.http.rate import Buckets, Rate

COOKIE = Subject("eve", "operator", by_cookie=True)
OPEN = Subject("local", "operator", is_open=True)
BEARER = Subject("api", "operator")
HERE, THERE = "http://localhost:3031", "http://evil.test"


@pytest.mark.parametrize(
    ("site", "origin", "cookie", "open_", "bearer"),
    [
        ("same-origin", HERE, True, True, True),
        ("same-origin", None, True, True, True),
        ("same-site", HERE, False, False, True),
        ("cross-site", THERE, False, False, True),
        ("cross-site", HERE, False, False, True),
        ("none", None, False, False, True),
        (None, HERE, True, True, True),
        (None, THERE, False, False, True),
        (None, "null", False, False, True),
        (None, "http://localhost:9999", False, False, True),
        (None, None, False, True, True),
    ],
)
def test_a_page_of_another_site_changes_nothing(
    site: str | None, origin: str | None, cookie: bool, open_: bool, bearer: bool
) -> None:
    """S11, as a table: what a browser sends of its own accord counts only from a page of ours; a bearer token it never
    sends. With nothing at all it is a program: let in where nobody needs a token, and never by a cookie.
    """
    given_ = (
        {"host": "localhost:3031"} | ({"sec-fetch-site": site} if site else {}) | ({"origin": origin} if origin else {})
    )
    found = [is_from_here(Headers(given_), subject) for subject in (COOKIE, OPEN, BEARER)]
    assert found == [cookie, open_, bearer]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/api/items/a%2Fb", "/api/items/a%2Fb"),
        (b"/api/items/a%2fb/history", "/api/items/a%2Fb/history"),
        (b"/api/items/a%252Fb", "/api/items/a%252Fb"),
        (b"/api/items/%C3%A9?x=%2F", "/api/items/é"),
        (b"/api/items/a b", "/api/items/a b"),
    ],
)
def test_an_encoded_slash_is_part_of_a_name(raw: bytes, path: str) -> None:
    """A key with a slash is one part of a path; everything else is decoded once."""
    assert gate._path({"raw_path": raw, "path": "not this"}) == path


def test_a_burst_is_let_through_and_then_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at once, then as many as come back; each name has its own; the wait that is told suffices."""
    now = itertools.count(100.0, 0.0)
    moment = [next(now)]
    monkeypatch.setattr(rate.time, "monotonic", lambda: moment[0])
    buckets = Buckets(Rate(3, 2.0))
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait("a") == 0.5
    assert buckets.take("b") == 0
    moment[0] += 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0


@given(st.lists(st.text(max_size=3), max_size=50))
def test_the_memory_of_who_asked_is_bounded(names: list[str]) -> None:
    """However many ask, so many are remembered."""
    buckets = Buckets(Rate(1, 1))
    for place, name in enumerate(names):
        buckets.take(f"{name}{place}")
    assert len(buckets._buckets) <= rate.MOST
