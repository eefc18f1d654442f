"""Agents and providers: add, list, show, edit, remove, whoever asks.

Owns: what is refused, and in which words. Does not own: what is wrong with a provider or a parameter (``core.agent``).
Invariant: what is kept here can be asked, but for what only a worker's host knows: its keys, its tools.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workerpool.api.service.refusals import NotInThisState, NotValid, Refusal
from workerpool.core.agent import AgentBrief, Provider, parameters, wrong_with
from workerpool.store import agents as store
from workerpool.store.session import Row, Session

#: Characters of an agent's texts.
MOST_TEXT = 100_000
#: What keys look like; wherever a name is wanted, one of these is a mistake that must not be kept.
_SECRET = re.compile(r"(sk|pk|key|gsk|xai|nvapi|hf)[-_][A-Za-z0-9_-]{16,}|[A-Za-z0-9+/_-]{40,}={0,2}")
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
PROVIDER = ("type", "base_url", "default_model", "key_variable", "key_file")
AGENT = ("role", "backstory", "instructions", "provider", "model", "model_parameters", "tools")


class NoSuchProvider(Refusal):
    """No provider has this name."""

    kind, name = "missing", "no-such-provider"

    def __init__(self, provider: str, known: Iterable[str]) -> None:
        told = f"there is no provider {provider}{_near(provider, known)}; `workerpool providers list` lists them"
        super().__init__(told, provider=provider)


class NoSuchAgent(Refusal):
    """No agent has this name."""

    kind, name = "missing", "no-such-agent"

    def __init__(self, agent: str, known: Iterable[str]) -> None:
        told = f"there is no agent {agent}{_near(agent, known)}; `workerpool agents list` lists them"
        super().__init__(told, agent=agent)


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent to be kept; *provider* and *model* may come later, or by SQL."""

    name: str
    role: str
    backstory: str = ""
    instructions: str = ""
    provider: str | None = None
    model: str | None = None
    model_parameters: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[str, ...] = ()


def providers(session: Session) -> list[Row]:
    """Return every provider by name, with the number of its `agents`."""
    return store.providers(session)


def provider(session: Session, name: str) -> Row:
    """Return a provider. Raises NoSuchProvider."""
    return _one_provider(session, name)


def agents(session: Session) -> list[Row]:
    """Return every agent by name."""
    return store.agents(session)


def agent(session: Session, name: str) -> Row:
    """Return an agent. Raises NoSuchAgent."""
    found = store.agents(session, name)
    if not found:
        raise NoSuchAgent(name, (each["name"] for each in store.agents(session)))
    return found[0]


def brief(session: Session, name: str) -> AgentBrief:
    """Return an agent as its handler gets it. Raises NoSuchAgent."""
    row = agent(session, name)
    its = _one_provider(session, row["provider"]) if row["provider"] is not None else None
    return AgentBrief(
        name=row["name"],
        role=row["role"],
        backstory=row["backstory"],
        instructions=row["instructions"],
        provider=_as_provider(its) if its is not None else None,
        model=row["model"],
        model_parameters=row["model_parameters"],
        tools=tuple(row["tools"]),
    )


def add_provider(session: Session, new: Provider, who: str) -> Row:
    """Keep a provider. Raises NotValid, NotInThisState: there is one of that name."""
    _check_name("provider", new.name)
    _check_provider(asdict(new))
    row = store.add_provider(session, new, who)
    if row is None:
        raise NotInThisState(
            f"there is a provider {new.name} already; `workerpool providers edit {new.name}` changes it"
        )
    return row | {"agents": 0}


def edit_provider(session: Session, name: str, changes: Mapping[str, Any], who: str) -> Row:
    """Change the columns that *changes* has; None takes one away. Raises NotValid, NoSuchProvider."""
    _known_columns(changes, PROVIDER)
    # The one takes the other's place, so that nobody has to take it away first.
    changes = _in_place(changes, "key_variable", "key_file")
    _no_secrets(changes)
    if store.edit(session, "provider", name, changes, who, _check_provider) is None:
        _one_provider(session, name)
    return _one_provider(session, name)


def remove_provider(session: Session, name: str, who: str) -> None:
    """Forget a provider. Raises NoSuchProvider, NotInThisState: agents use it."""
    if store.remove(session, "provider", name, who) is not None:
        return
    _one_provider(session, name)
    used = ", ".join(row["name"] for row in store.agents(session, provider=name))
    raise NotInThisState(f"the provider {name} is used by {used}; give them another one, or remove them first")


def add_agent(session: Session, new: NewAgent, who: str) -> Row:
    """Keep an agent. Raises NotValid, NoSuchProvider, NotInThisState: there is one of that name."""
    _check_name("agent", new.name)
    given = {name: getattr(new, name) for name in AGENT} | {"tools": list(new.tools)}
    _check_agent(given)
    if new.provider is not None:
        _one_provider(session, new.provider)
    row = store.add_agent(session, new.name, given, who)
    if row is None:
        raise NotInThisState(f"there is an agent {new.name} already; `workerpool agents edit {new.name}` changes it")
    return row


def edit_agent(session: Session, name: str, changes: Mapping[str, Any], who: str) -> Row:
    """Change the columns that *changes* has; None takes one away.

    Of `model_parameters` those that it has are changed, null takes one back to its default. Raises NotValid,
    NoSuchAgent, NoSuchProvider.
    """
    _known_columns(changes, AGENT)
    changes = dict(changes)
    for text in ("backstory", "instructions"):
        if text in changes and changes[text] is None:
            changes[text] = ""
    if changes.get("provider") is not None:
        _one_provider(session, changes["provider"])
    if "model_parameters" in changes:
        merged = agent(session, name)["model_parameters"] | dict(changes["model_parameters"] or {})
        changes["model_parameters"] = {key: value for key, value in merged.items() if value is not None}
    if "tools" in changes:
        changes["tools"] = list(changes["tools"] or ())
    _check_agent(agent(session, name) | changes)
    row = store.edit(session, "agent", name, changes, who, _check_agent)
    return row if row is not None else agent(session, name)


def remove_agent(session: Session, name: str, who: str) -> None:
    """Forget an agent; revisions that name it fail. Raises NoSuchAgent."""
    if store.remove(session, "agent", name, who) is None:
        agent(session, name)


def _one_provider(session: Session, name: str) -> Row:
    found = store.providers(session, name)
    if not found:
        raise NoSuchProvider(name, (each["name"] for each in store.providers(session)))
    return found[0]


def _as_provider(row: Mapping[str, Any]) -> Provider:
    return Provider(row["name"], **{name: row[name] for name in PROVIDER})


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (is it {near[0]}?)" if near else ""


def _in_place(changes: Mapping[str, Any], one: str, other: str) -> dict[str, Any]:
    changes = dict(changes)
    for given, its in ((one, other), (other, one)):
        if changes.get(given) is not None and its not in changes:
            changes[its] = None
    return changes


def _known_columns(changes: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    for name in changes:
        if name not in allowed:
            raise NotValid(f"there is no {name} to change; allowed: {', '.join(allowed)}")


def _check_name(what: str, name: str) -> None:
    if not 1 <= len(name) <= 200 or not name.isprintable() or name != name.strip():
        raise NotValid(f"the name of the {what} is {name[:100]!r}; allowed: 1 to 200 characters, none of them unseen")


def _check_provider(row: Mapping[str, Any]) -> None:
    _no_secrets(row)
    wrong = wrong_with(_as_provider(row))
    if wrong is not None:
        raise NotValid(f"the provider {row['name']} cannot be used so: {wrong}")
    for name in ("default_model", "key_file"):
        if row[name] is not None and not 1 <= len(row[name]) <= 1000:
            raise NotValid(f"the {name} of a provider has 1 to 1000 characters")


def _no_secrets(row: Mapping[str, Any]) -> None:
    for name in ("key_variable", "key_file", "default_model"):
        value = row.get(name)
        if isinstance(value, str) and _SECRET.fullmatch(value):
            # (not repeated: it may well be one)
            raise NotValid(f"{name} looks like a key; here stands only the name of what holds it, never the key itself")


def _check_agent(row: Mapping[str, Any]) -> None:
    for name in ("role", "backstory", "instructions"):
        text = row[name]
        if not isinstance(text, str) or len(text) > MOST_TEXT or "\0" in text:
            raise NotValid(f"the {name} of an agent is a text of at most {MOST_TEXT} characters, without NUL")
    if not row["role"].strip():
        raise NotValid("an agent has a role, such as: an editor of web pages")
    if row["model"] is not None and not 1 <= len(row["model"]) <= 200:
        raise NotValid("the model of an agent has 1 to 200 characters")
    for name in row["tools"]:
        if not isinstance(name, str) or not _TOOL.fullmatch(name):
            raise NotValid(f"the tool {name!r} is no name of a function of WORKERPOOL_AGENT_TOOLS")
    try:
        parameters(row["model_parameters"])
    except ValueError as error:
        raise NotValid(str(error)) from None
