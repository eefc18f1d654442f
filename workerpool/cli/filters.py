"""``--where KEY=VALUE``: which revisions a verb means, for people who do not want to type ids.

Owns: the keys, and what is wrong with what was typed. Does not own: finding them (``store.changing``). Pure.
Invariant: the same key twice means either of the values, different keys mean all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

import click

from workerpool.core.durations import BadDuration, parse_duration
from workerpool.core.errors import FailureKind

if TYPE_CHECKING:
    from workerpool.store.changing import Filter

FAILURE_KINDS: tuple[str, ...] = get_args(FailureKind)
#: Key -> what may stand behind it.
KEYS = {
    "status": "one of those that the verb is for",
    "item": "an item, * for any characters",
    "handler": "a handler's name",
    "kind": ", ".join(FAILURE_KINDS),
    "error": "a part of the error's message",
    "older": "than a duration such as 2h: since its end, else since it was added",
    "newer": "than a duration",
}


def with_filter(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ids or ``--where``, and ``--yes``."""
    for option in (
        click.option("--yes", is_flag=True, help="Do what --where means; without it only say what that would be."),
        click.option(
            "--where", multiple=True, metavar="KEY=VALUE", help=f"Instead of ids; KEY is {', '.join(KEYS)}. Repeatable."
        ),
        click.argument("revisions", metavar="[ID]...", nargs=-1, type=click.IntRange(1, 2**63 - 1)),
    ):
        verb = option(verb)
    return verb


def check(revisions: Sequence[int], where: Sequence[str], *, yes: bool) -> None:
    """Raise click.UsageError unless there are either ids or filters."""
    if bool(revisions) == bool(where):
        raise click.UsageError("Either ids or --where KEY=VALUE is wanted" + (", not both." if where else "."))
    if yes and not where:
        raise click.UsageError("--yes is for --where; with ids nothing is asked.")


def read(where: Iterable[str], allowed: Sequence[str], usual: Sequence[str]) -> Filter:
    """Return the filter that *where* means, among statuses that are *allowed*; *usual* ones where none is named.

    Raises click.BadParameter, which says what is allowed.
    """
    from workerpool.store.changing import Filter

    given: dict[str, list[str]] = {}
    for text in where:
        key, equals, value = text.partition("=")
        if not equals or key not in KEYS or not value:
            keys = "; ".join(f"{name}= {meaning}" for name, meaning in KEYS.items())
            raise click.BadParameter(f"{text!r} is not KEY=VALUE. Allowed: {keys}.", param_hint="--where")
        given.setdefault(key, []).append(value)
    for key, choices in (("status", allowed), ("kind", FAILURE_KINDS)):
        if bad := [value for value in given.get(key, ()) if value not in choices]:
            raise click.BadParameter(f"{key}={bad[0]}. Allowed: {', '.join(choices)}.", param_hint="--where")

    def listed(key: str) -> tuple[str, ...] | None:
        return tuple(given[key]) if key in given else None

    return Filter(
        listed("status") or tuple(usual),
        listed("item"),
        listed("handler"),
        listed("kind"),
        _one(given, "error"),
        _length(given, "older"),
        _length(given, "newer"),
    )


def _one(given: dict[str, list[str]], key: str) -> str | None:
    if len(values := given.get(key, [])) > 1:
        raise click.BadParameter(f"{key}= stands there {len(values)} times; allowed: once.", param_hint="--where")
    return values[0] if values else None


def _length(given: dict[str, list[str]], key: str) -> timedelta | None:
    text = _one(given, key)
    try:
        return None if text is None else parse_duration(text)
    except BadDuration as error:
        raise click.BadParameter(f"{key}={text}: {error}", param_hint="--where") from None
