"""Agents and their providers, as people make, change and remove them.

Owns: the statements of the two tables, each change with its event in one transaction. Does not own: what may stand in
them (``core.agent``, ``api.service.agents``). Invariant: no change without the event that says who made it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from psycopg import errors

from workerpool.core.agent import Provider
from workerpool.store.session import Row, Session

Kind = Literal["provider", "agent"]
Action = Literal["add", "edit", "remove"]
#: Is told the new row before it is committed, and raises what keeps it from being so.
Check = Callable[[Row], None]


class ProviderGone(Exception):
    """An agent has a provider, or was to have one, that is not there once this is committed."""

    def __init__(self, kind: Kind, name: str) -> None:
        super().__init__(f"the provider of an agent would not be there: {kind} {name}")


def providers(session: Session, name: str | None = None) -> list[Row]:
    """Return all providers by name, or the one of that *name*, each with the number of its `agents`."""
    return session.rows("providers", name=name)


def agents(session: Session, name: str | None = None, provider: str | None = None) -> list[Row]:
    """Return all agents by name, or the one of that *name*, or those of a *provider*."""
    return session.rows("agents", name=name, provider=provider)


def add_provider(session: Session, new: Provider, who: str) -> Row | None:
    """Keep a provider; None: there is one of that name."""
    given: dict[str, Any] = {
        "type": new.type,
        "base_url": new.base_url,
        "default_model": new.default_model,
        "key_variable": new.key_variable,
        "key_file": new.key_file,
    }
    return _change(session, "provider", "add", new.name, who, **given)


def add_agent(session: Session, name: str, given: Mapping[str, Any], who: str) -> Row | None:
    """Keep an agent of which *given* has every column; None: there is one of that name. Raises ProviderGone."""
    encoded = dict(given) | {"model_parameters": json.dumps(given["model_parameters"], ensure_ascii=False)}
    return _change(session, "agent", "add", name, who, **encoded)


def edit(session: Session, kind: Kind, name: str, changes: Mapping[str, Any], who: str, check: Check) -> Row | None:
    """Change the columns that *changes* has, where *check* lets the new row be; None: there is none of that name.

    Of `model_parameters` those that it names are changed. Raises ProviderGone.
    """
    encoded = json.dumps(changes, ensure_ascii=False)
    return _change(session, kind, "edit", name, who, check, changes=encoded)


def remove(session: Session, kind: Kind, name: str, who: str) -> Row | None:
    """Forget one; None: there is none of that name, or it is a provider that agents use."""
    try:
        return _change(session, kind, "remove", name, who)
    except ProviderGone:
        return None  # (an agent of it was committed while this waited)


def _change(
    session: Session, kind: Kind, action: Action, name: str, who: str, check: Check | None = None, **given: Any
) -> Row | None:
    try:
        with session.transaction():
            row = session.row(f"{action}_{kind}", name=name, **given)
            if row is not None:
                if check is not None:
                    check(row)
                session.rows("add_event", control=kind, action=action, reason=None, who=who, target=name)
    except errors.ForeignKeyViolation:
        raise ProviderGone(kind, name) from None
    return row
