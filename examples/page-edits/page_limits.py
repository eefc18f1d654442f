"""How much people may ask for: the limits, from the environment, and the sentences that say so.

Owns: the rules. Pure. Does not own: the counting (`page_store`), nor how a refusal is shown (`page_service`).

Invariant: a refusal says what, where and what is allowed; and when, if waiting helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class BadLimit(ValueError):
    """A limit in the environment is none."""

    def __init__(self, variable: str, value: str, least: int, most: int) -> None:
        super().__init__(f"{variable}={value!r}: a whole number from {least} to {most} is allowed")


class Refused(Exception):
    """A request that is not accepted; *status* is HTTP's, *retry_after* seconds (None: waiting does not help)."""

    def __init__(self, status: int, reason: str, retry_after: float | None = None) -> None:
        self.status, self.reason = status, reason
        self.retry_after = None if retry_after is None else max(1, round(retry_after + 0.5))
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits: characters of a request, edits of one page within 24 hours, seconds between two of one person."""

    longest_request: int = 1000
    edits_per_day: int = 20
    cool_down: int = 10

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Limits:
        """Return the limits that *environment* sets. Raises BadLimit."""
        return cls(
            _number(environment, "PAGE_EDITS_LONGEST_REQUEST", cls().longest_request, 1, 20_000),
            _number(environment, "PAGE_EDITS_PER_DAY", cls().edits_per_day, 1, 10_000),
            _number(environment, "PAGE_EDITS_COOL_DOWN", cls().cool_down, 0, 86_400),
        )

    def wording(self, request: str) -> str:
        """Return the text of *request* as it is kept. Raises Refused (422)."""
        text = request.replace("\r\n", "\n").replace("\0", "").strip()
        if not text:
            raise Refused(422, "The request is empty; say in a sentence what is to change on the page.")
        if len(text) > self.longest_request:
            most = f"at most {self.longest_request:,} are allowed"
            raise Refused(422, f"The request has {len(text):,} characters; {most}. Ask for one edit at a time.")
        return text

    def let(self, page: str, ages: list[float], own: float | None) -> None:
        """Let one edit more of *page* come. Raises Refused (429).

        *ages*: how many seconds ago those of the last day were asked for, the oldest first; *own*: how long ago the
        same person asked last, None: not within a day.
        """
        if own is not None and own < self.cool_down:
            left = self.cool_down - own
            rule = f"between two requests of one person for one page {spell(self.cool_down)} must pass"
            raise Refused(429, f"That was quick: {rule}; the next may come in {spell(left)}.", left)
        if len(ages) >= self.edits_per_day:
            left = 86_400 - ages[len(ages) - self.edits_per_day]
            most = f"{self.edits_per_day} edits within 24 hours, which is all that is allowed"
            raise Refused(429, f"The page {page!r} has had {most}; the next may come in {spell(left)}.", left)


def _number(environment: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    given = environment.get(name, "").strip()
    if not given:
        return usual
    if not given.isascii() or not given.isdigit() or not least <= int(given) <= most:
        raise BadLimit(name, given, least, most)
    return int(given)


def spell(seconds: float) -> str:
    """Return a length of time for people, rounded up: 1 s, 3 min, 5 h."""
    whole = max(1, int(-(-seconds // 1)))
    for unit, name in ((3600, "h"), (60, "min")):
        if whole >= 2 * unit:
            return f"{-(-whole // unit)} {name}"
    return f"{whole} s"
