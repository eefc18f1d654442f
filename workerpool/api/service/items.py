"""What one asks of an item as a whole: its line, its history, halt, unhalt, revert.

Does not own: the verbs (``store.changing``). Invariant: what a history compares is what the items' content was then.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from workerpool.api.reasons import reason
from workerpool.api.service.refusals import NoSuchItem, NotInThisState
from workerpool.core.wording import safe
from workerpool.store import changing
from workerpool.store.session import Row, Session

#: How many revisions an export reads at once.
PAGE = 200


def listing(session: Session, how_many: int, silence: timedelta) -> list[Row]:
    """Return items, those with work first, each with `why` its head does not run (None: nothing waits)."""
    found = session.rows("item_list", how_many=how_many)
    heads = [row["processing_id"] or row["head_id"] for row in found]
    facts = session.rows("waiting", ids=[head for head in heads if head], silence=silence)
    reasons = {each["id"]: reason(each).why for each in facts}
    for row, head in zip(found, heads, strict=True):
        row["why"] = reasons.get(head)
    return found


def show(session: Session, item: str) -> Row:
    """Return an item and how much there is of it, `known` false where there is nothing."""
    row = session.row("item", item=item)
    assert row is not None, "item answers one row"
    return row


def known(session: Session, item: str) -> Row:
    """Return an item. Raises NoSuchItem."""
    row = show(session, item)
    if not row["known"]:
        raise NoSuchItem(item)
    return row


def content(session: Session, item: str) -> object:
    """Return an item's current content: what its next revision stacks on; None: it has none."""
    row = session.row("base", item_key=item)
    return json.loads(row["base"]) if row is not None and row["base"] is not None else None


@dataclass(frozen=True, slots=True)
class History:
    """The latest numbers of an item's history, what its content was before the first of them, and whether there
    are more.
    """

    rows: list[Row]
    before: object
    is_cut: bool


def history(session: Session, item: str, how_many: int, *, with_result: bool = False) -> History:
    """Return the latest *how_many* numbers of an item's history. Raises NoSuchItem."""
    found = session.rows("history", item=item, how_many=how_many + 1, with_result=with_result)
    if not found:
        known(session, item)
    if len(found) > how_many:
        return History(found[1:], found[0]["result"], True)
    original = session.row("numbered", item=item, number=0) if with_result else None
    return History(found, json.loads(original["result"] or "null") if original is not None else None, False)


def before(session: Session, revision: Row) -> tuple[int, object] | None:
    """Return the number and the result that *revision*, which has completed, was made on; None: it has none."""
    if revision["revision_number"] is None:
        return None
    number = revision["revision_number"] - 1
    row = session.row("numbered", item=revision["item_key"], number=number)
    if row is None or not row["found"]:
        return None
    return number, json.loads(row["result"] or "null")


def difference(earlier: object, later: object) -> list[str]:
    """Return the lines of a unified diff between two results, without its header; none: they are the same."""
    return list(difflib.unified_diff(lines(earlier), lines(later), lineterm="", n=2))[2:]


def lines(result: Any) -> list[str]:
    """Return a result as lines: its text where it is or has one, else its JSON."""
    if isinstance(result, dict) and isinstance(result.get("output"), str):
        return str(result["output"]).splitlines()
    if isinstance(result, dict) and set(result) == {"html"}:
        return str(result["html"]).splitlines()  # the original of a page
    if isinstance(result, str):
        return result.splitlines()
    return [] if result is None else json.dumps(result, indent=2, ensure_ascii=False).splitlines()


def halt(session: Session, item: str, why: str, who: str) -> Row:
    """Start nothing of an item; it may be one of which nothing is known yet. Raises NotInThisState."""
    found = show(session, item)
    if not changing.halt(session, item, why, who):
        raise NotInThisState(f"{safe(item)} is halted already: {safe(found['halt_reason'] or '')}", itemKey=item)
    return found


def unhalt(session: Session, item: str, who: str) -> None:
    """Let an item go on. Raises NoSuchItem, NotInThisState."""
    if not changing.unhalt(session, item, who):
        known(session, item)
        raise NotInThisState(f"{safe(item)} is not halted", itemKey=item)


def purge(session: Session, item: str, who: str) -> int:
    """Delete everything of an item and return how many revisions that was. Raises NotInThisState: one is processing."""
    deleted = changing.purge(session, item, who)
    if deleted < 0:
        raise NotInThisState(f"a revision of {safe(item)} is processing: nothing was deleted", itemKey=item)
    return deleted


def export(session: Session, item: str) -> Iterator[str]:
    """Yield every revision of an item with its log, each as one JSON text, the oldest first."""
    after = 0
    while page := session.rows("export_revisions", item=item, after=after, how_many=PAGE):
        yield from (row["document"] for row in page)
        after = page[-1]["id"]


def revert(session: Session, item: str, to: int, who: str) -> int:
    """Add a revision that gives an item the content of its number *to* (0: the original); return its id.

    Raises NoSuchItem, NotInThisState.
    """
    try:
        return changing.revert(session, item, to, who)
    except changing.CannotRevert as error:
        if error.pruned:
            raise NotInThisState(str(error), itemKey=item) from None
        raise NoSuchItem(item, str(error)) from None
