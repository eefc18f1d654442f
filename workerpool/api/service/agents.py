"""Agents and providers: add, list, show, edit, remove, whoever asks.

Owns: each verb, and what is missing for an agent to be asked. Does not own: what may be kept (``agent_rules``).
Invariant: what is kept here can be asked, but for what only a worker's host knows: its keys, its tools.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workerpool.api.service import agent_rules as rules
from workerpool.api.service.agent_rules import AGENT, PROVIDER
from workerpool.api.service.refusals import NotInThisState, Refusal
from workerpool.core.agent import AgentBrief, Parameters, Provider, parameters, wrong_with
from workerpool.store import agents as store
from workerpool.store.session import Row, Session


class NoSuchProvider(Refusal):
    """No provider has this name."""

    kind, name = "missing", "no-such-provider"

    def __init__(self, provider: str, known: Iterable[str]) -> None:
        told, facts = _named("provider", provider, known)
        super().__init__(f"there is no provider {told}; `workerpool providers list` lists them", **facts)


class NoSuchAgent(Refusal):
    """No agent has this name."""

    kind, name = "missing", "no-such-agent"

    def __init__(self, agent: str, known: Iterable[str]) -> None:
        told, facts = _named("agent", agent, known)
        super().__init__(f"there is no agent {told}; `workerpool agents list` lists them", **facts)


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
    found = store.agents(session, name) if rules.is_text(name) else []
    if not found:
        raise NoSuchAgent(name, (each["name"] for each in store.agents(session)))
    return found[0]


def brief(session: Session, name: str) -> AgentBrief:
    """Return an agent as its handler gets it. Raises NoSuchAgent."""
    row = agent(session, name)
    return brief_of(row, _one_provider(session, row["provider"]) if row["provider"] is not None else None)


def brief_of(row: Row, its_provider: Row | None) -> AgentBrief:
    """Return the agent that a row is, with the row of its provider."""
    return AgentBrief(
        name=row["name"],
        role=row["role"],
        backstory=row["backstory"],
        instructions=row["instructions"],
        provider=provider_of(its_provider) if its_provider is not None else None,
        model=row["model"],
        model_parameters=row["model_parameters"],
        tools=tuple(row["tools"]),
    )


def provider_of(row: Mapping[str, Any]) -> Provider:
    """Return the provider that a row is."""
    return Provider(row["name"], **{name: row[name] for name in PROVIDER})


def held(its: Provider) -> str:
    """Return what holds the key of a provider, in words."""
    return f"file {its.key_file}" if its.key_file is not None else its.variable or "none is sent"


def missing(brief: AgentBrief) -> str | None:
    """Return what keeps an agent from being asked and can be seen from here, as a sentence without its name, or None.

    (Whether its key and its tools are there, only the workers' hosts know.)
    """
    edit = f"`workerpool agents edit {brief.name}"
    if brief.provider is None:
        return f"it has no provider: {edit} --provider NAME`"
    wrong = wrong_with(brief.provider)
    if wrong is not None:
        return f"its provider {brief.provider.name} cannot be used: {wrong}"
    if brief.model_used is None:
        return f"it has no model, and its provider no default: {edit} --model NAME`"
    used = used_parameters(brief)
    return used if isinstance(used, str) else None


def used_parameters(brief: AgentBrief) -> Parameters | str:
    """Return the parameters that an agent is asked with, or what is wrong with them."""
    try:
        return parameters(brief.model_parameters)
    except ValueError as error:
        return str(error)


def add_provider(session: Session, new: Provider, who: str) -> Row:
    """Keep a provider. Raises NotValid, NotInThisState: there is one of that name."""
    rules.check_name("provider", new.name)
    rules.check_provider(asdict(new))
    row = store.add_provider(session, new, who)
    if row is None:
        raise NotInThisState(
            f"there is a provider {new.name} already; `workerpool providers edit {new.name}` changes it"
        )
    return row | {"agents": 0}


def edit_provider(session: Session, name: str, changes: Mapping[str, Any], who: str) -> Row:
    """Change the columns that *changes* has; None takes one away. Raises NotValid, NoSuchProvider."""
    rules.check_columns(changes, PROVIDER)
    # The one takes the other's place, so that nobody has to take it away first.
    changes = rules.one_key(changes)
    rules.check_provider_columns(changes)
    # (looked at before, for the words, and in the transaction, for the row that it is by then)
    rules.check_provider(_one_provider(session, name) | changes)
    if changes:
        store.edit(session, "provider", name, changes, who, rules.check_provider)
    return _one_provider(session, name)


def remove_provider(session: Session, name: str, who: str) -> None:
    """Forget a provider. Raises NoSuchProvider, NotInThisState: agents use it."""
    if rules.is_text(name) and store.remove(session, "provider", name, who) is not None:
        return
    _one_provider(session, name)
    used = ", ".join(row["name"] for row in store.agents(session, provider=name)) or "an agent that has just gone"
    raise NotInThisState(f"the provider {name} is used by {used}; give them another one, or remove them first")


def add_agent(session: Session, new: NewAgent, who: str) -> Row:
    """Keep an agent. Raises NotValid, NoSuchProvider, NotInThisState: there is one of that name."""
    rules.check_name("agent", new.name)
    given = {name: getattr(new, name) for name in AGENT} | {"tools": list(new.tools)}
    rules.check_agent(given)
    named = rules.spelled(given["model_parameters"]).items()
    given["model_parameters"] = {key: value for key, value in named if value is not None}
    if new.provider is not None:
        _one_provider(session, new.provider)
    try:
        row = store.add_agent(session, new.name, given, who)
    except store.ProviderGone:
        raise _no_provider(session, new.provider) from None
    if row is None:
        raise NotInThisState(f"there is an agent {new.name} already; `workerpool agents edit {new.name}` changes it")
    return row


def edit_agent(session: Session, name: str, changes: Mapping[str, Any], who: str) -> Row:
    """Change the columns that *changes* has; None takes one away.

    Of `model_parameters` those that it has are changed, null takes one back to its default. Raises NotValid,
    NoSuchAgent, NoSuchProvider.
    """
    rules.check_columns(changes, AGENT)
    changes = dict(changes)
    for text in ("backstory", "instructions"):
        if text in changes and changes[text] is None:
            changes[text] = ""
    if "tools" in changes:
        changes["tools"] = list(changes["tools"] or ())
    rules.check_agent(changes)
    if changes.get("model_parameters") is not None:
        changes["model_parameters"] = rules.spelled_anew(changes["model_parameters"])
    if changes.get("provider") is not None:
        _one_provider(session, changes["provider"])
    try:
        if changes and rules.is_text(name):
            store.edit(session, "agent", name, changes, who, rules.check_agent)
    except store.ProviderGone:
        raise _no_provider(session, changes["provider"]) from None
    return agent(session, name)


def remove_agent(session: Session, name: str, who: str) -> None:
    """Forget an agent; revisions that name it fail. Raises NoSuchAgent."""
    if not rules.is_text(name) or store.remove(session, "agent", name, who) is None:
        agent(session, name)


def _one_provider(session: Session, name: str) -> Row:
    found = store.providers(session, name) if rules.is_text(name) else []
    if not found:
        raise _no_provider(session, name)
    return found[0]


def _no_provider(session: Session, name: str | None) -> NoSuchProvider:
    return NoSuchProvider(name or "", (each["name"] for each in store.providers(session)))


def _named(what: str, name: str, known: Iterable[str]) -> tuple[str, dict[str, object]]:
    """Return how a name that is not there is told, with one that is near; what may be a key is not repeated."""
    if rules.looks_like_a_key(name):
        return "of that name", {}
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{name}{f' (is it {near[0]}?)' if near else ''}", {what: name}
