"""Agents and providers in their tables: what is kept, what each change leaves on record, and who wins a race."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.store.driving import Waiting, blocked
from workerpool.api.service import agents
from workerpool.api.service.refusals import NotInThisState, NotValid
from workerpool.core.agent import Provider
from workerpool.store import agents as store
from workerpool.store import session

KEY = "sk-proj-0123456789abcdefghij"
BOX = Provider("box", "openai-compatible", "http://127.0.0.1:9/v1")


class Desk(session.Session):
    """Somebody who administers."""

    @property
    def pid(self) -> int:
        """The process that serves this connection."""
        return self.connection.info.backend_pid

    def events(self) -> list[tuple[Any, ...]]:
        """Every event of the two tables, the latest last."""
        asked = self.connection.execute(
            "SELECT control, action, actor, target FROM workerpool.control_events "
            "WHERE control IN ('agent', 'provider') AND actor <> 'before' ORDER BY id"
        )
        return asked.fetchall()


def desk(database: str, name: str) -> Desk:
    """Open a connection."""
    return Desk(database, "workerpool", name)


@pytest.fixture
def ann(database: str) -> Iterator[Desk]:
    """An operator, at empty tables but for what events of earlier tests are left, which cannot be deleted."""
    with desk(database, "ann") as found:
        found.connection.execute("DELETE FROM workerpool.agents")
        found.connection.execute("DELETE FROM workerpool.llm_providers")
        begin = len(found.events())
        found.events = lambda: Desk.events(found)[begin:]  # type: ignore[method-assign]
        yield found


@pytest.fixture
def bob(database: str) -> Iterator[Desk]:
    """Another one, at the same time."""
    with desk(database, "bob") as found:
        yield found


def writer(provider: str | None = "box", **more: Any) -> agents.NewAgent:
    """An agent."""
    return agents.NewAgent(name="writer", role="a writer", provider=provider, **more)


def test_each_change_is_on_record_with_who_made_it(ann: Desk) -> None:
    """One event for each change, none for what changed nothing or was not there."""
    agents.add_provider(ann, BOX, "ann")
    agents.add_agent(ann, writer(), "ann")
    agents.edit_provider(ann, "box", {"default_model": "m"}, "bob")
    agents.edit_agent(ann, "writer", {"model": "n"}, "bob")
    agents.edit_agent(ann, "writer", {}, "bob")
    agents.edit_provider(ann, "box", {}, "bob")
    with pytest.raises(agents.NoSuchAgent):
        agents.edit_agent(ann, "nobody", {"model": "n"}, "bob")
    agents.remove_agent(ann, "writer", "ann")
    with pytest.raises(agents.NoSuchAgent):
        agents.remove_agent(ann, "writer", "ann")
    ann.connection.execute("INSERT INTO workerpool.llm_providers (name, type) VALUES ('other', 'openai')")
    agents.remove_provider(ann, "box", "ann")
    assert [row["name"] for row in agents.providers(ann)] == ["other"]
    assert ann.events() == [
        ("provider", "add", "ann", "box"), ("agent", "add", "ann", "writer"), ("provider", "edit", "bob", "box"),
        ("agent", "edit", "bob", "writer"), ("agent", "remove", "ann", "writer"), ("provider", "remove", "ann", "box"),
    ]  # fmt: skip


def test_a_change_and_its_event_are_one_transaction(ann: Desk) -> None:
    """Where the new row may not be, neither it nor the event is there."""

    def refuse(row: session.Row) -> None:
        assert row["default_model"] == "m"
        raise NotValid("no")

    agents.add_provider(ann, BOX, "ann")
    with pytest.raises(NotValid):
        store.edit(ann, "provider", "box", {"default_model": "m"}, "bob", refuse)
    assert agents.provider(ann, "box")["default_model"] is None
    assert ann.events() == [("provider", "add", "ann", "box")]


def test_an_edit_changes_only_what_is_given(ann: Desk) -> None:
    """Columns and parameters that are not named stay; null takes one back, whichever spelling it was kept under."""
    agents.add_provider(ann, BOX, "ann")
    given = {"max_tokens": 100, "topP": 0.5, "stop": ["END"], "seed": None}
    kept = agents.add_agent(ann, writer(backstory="long ago", model_parameters=given, tools=("add",)), "ann")
    assert kept["model_parameters"] == {"maxTokens": 100, "topP": 0.5, "stop": ["END"]}
    ann.connection.execute("UPDATE workerpool.agents SET model_parameters = model_parameters || '{\"top_p\": 0.4}'")
    row = agents.edit_agent(ann, "writer", {"model_parameters": {"topP": 1, "stop": None}}, "ann")
    assert row["model_parameters"] == {"maxTokens": 100, "topP": 1}
    assert (row["backstory"], row["tools"], row["provider"]) == ("long ago", ["add"], "box")
    row = agents.edit_agent(
        ann, "writer", {"backstory": None, "tools": None, "provider": None, "model_parameters": None}, "ann"
    )
    assert (row["backstory"], row["tools"], row["provider"], row["model_parameters"]) == ("", [], None, {})


def test_two_who_change_different_parameters_both_have_their_way(
    connection: psycopg.Connection, ann: Desk, bob: Desk
) -> None:
    """An edit is one statement on the row as it is, and not on the row as somebody read it."""
    agents.add_agent(ann, writer(None, model_parameters={"temperature": 1}), "ann")
    with ann.transaction():
        agents.edit_agent(ann, "writer", {"model_parameters": {"topP": 0.5}}, "ann")
        waiting = Waiting(lambda: agents.edit_agent(bob, "writer", {"model_parameters": {"seed": 7}}, "bob"))
        assert blocked(connection, bob) == "transactionid"
    assert waiting.result()["model_parameters"] == {"temperature": 1, "topP": 0.5, "seed": 7}


def test_a_provider_that_is_used_stays(connection: psycopg.Connection, ann: Desk, bob: Desk) -> None:
    """Also where the agent is committed while the removal waits: the refusal names it, and no event says otherwise."""
    agents.add_provider(ann, BOX, "ann")
    with ann.transaction():
        agents.add_agent(ann, writer(), "ann")
        waiting = Waiting(lambda: agents.remove_provider(bob, "box", "bob"))
        blocked(connection, bob)
    with pytest.raises(NotInThisState, match="is used by writer;"):
        waiting.result()
    with pytest.raises(NotInThisState, match="is used by writer;"):
        agents.remove_provider(bob, "box", "bob")
    assert ("provider", "remove", "bob", "box") not in ann.events()
    assert agents.provider(ann, "box")["agents"] == 1


@pytest.mark.parametrize("edits", [False, True])
def test_an_agent_gets_no_provider_that_is_going(
    connection: psycopg.Connection, ann: Desk, bob: Desk, edits: bool
) -> None:
    """Added or changed while the removal is under way: there is no such provider, and nothing is written."""
    agents.add_provider(ann, BOX, "ann")
    if edits:
        agents.add_agent(ann, writer(None), "ann")
    before = ann.events()
    with ann.transaction():
        agents.remove_provider(ann, "box", "ann")
        if edits:
            waiting = Waiting(lambda: agents.edit_agent(bob, "writer", {"provider": "box"}, "bob"))
        else:
            waiting = Waiting(lambda: agents.add_agent(bob, writer(), "bob"))
        blocked(connection, bob)
    with pytest.raises(agents.NoSuchProvider, match="there is no provider box;"):
        waiting.result()
    assert ann.events() == [*before, ("provider", "remove", "ann", "box")]
    assert [row["provider"] for row in agents.agents(ann)] == ([None] if edits else [])


@pytest.mark.parametrize("column", ["name", "type", "base_url", "default_model", "key_variable", "key_file"])
def test_no_column_of_a_provider_takes_a_key(ann: Desk, column: str) -> None:
    """It is refused without being repeated, added and changed; the tables and the events do not have it."""
    agents.add_provider(ann, BOX, "ann")
    given = {"name": "other", "type": "openai-compatible", "base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(NotValid) as refused:
        agents.add_provider(ann, Provider(**given | {column: KEY}), "ann")
    assert KEY not in str(refused.value)
    if column != "name":
        with pytest.raises(NotValid) as refused:
            agents.edit_provider(ann, "box", {column: KEY}, "ann")
        assert KEY not in str(refused.value)
    assert _found_nowhere(ann, KEY)


@pytest.mark.parametrize(
    "given",
    [
        {"name": KEY}, {"role": f"Use {KEY} to log in."}, {"backstory": KEY}, {"instructions": f"token={KEY}"},
        {"provider": KEY}, {"model": KEY}, {"model_parameters": {"stop": [KEY]}}, {"model_parameters": {KEY: 1}},
        {"model_parameters": {"temperature": KEY}}, {"tools": (KEY,)},
    ],
)  # fmt: skip
def test_no_column_of_an_agent_takes_a_key(ann: Desk, given: dict[str, Any]) -> None:
    """As of a provider."""
    agents.add_agent(ann, writer(None), "ann")
    with pytest.raises(NotValid) as refused:
        agents.add_agent(ann, agents.NewAgent(**{"name": "other", "role": "a writer"} | given), "ann")
    assert KEY not in str(refused.value)
    if "name" not in given:
        with pytest.raises(NotValid) as refused:
            agents.edit_agent(ann, "writer", given, "ann")
        assert KEY not in str(refused.value)
    assert _found_nowhere(ann, KEY)


def _found_nowhere(desk: Desk, text: str) -> bool:
    tables = ("agents", "llm_providers", "control_events")
    found = [desk.connection.execute(f"SELECT t::text FROM workerpool.{each} t".encode()).fetchall() for each in tables]
    return text not in str(found)


@pytest.mark.parametrize("text", ["a\0b", "half \udcff"])
def test_what_is_no_text_is_refused_and_not_there(ann: Desk, text: str) -> None:
    """NUL and half a character, such as a shell passes on: in words, and never as an error of the driver."""
    for refuse in (
        lambda: agents.add_agent(ann, writer(None, instructions=text), "ann"),
        lambda: agents.add_agent(ann, writer(None, model=text), "ann"),
        lambda: agents.add_agent(ann, writer(None, model_parameters={"stop": text}), "ann"),
        lambda: agents.add_agent(ann, agents.NewAgent(name=text, role="r"), "ann"),
        lambda: agents.add_provider(ann, Provider("box", "openai", default_model=text), "ann"),
        lambda: agents.add_provider(ann, Provider("box", "openai", key_file=text), "ann"),
    ):
        with pytest.raises(NotValid):
            refuse()
    for lacking in (agents.agent, agents.brief):
        with pytest.raises(agents.NoSuchAgent):
            lacking(ann, text)
    with pytest.raises(agents.NoSuchAgent):
        agents.edit_agent(ann, text, {"model": "m"}, "ann")
    with pytest.raises(agents.NoSuchProvider):
        agents.edit_provider(ann, text, {"default_model": "m"}, "ann")
    with pytest.raises(agents.NoSuchProvider):
        agents.remove_provider(ann, text, "ann")
    with pytest.raises(agents.NoSuchProvider):
        agents.add_agent(ann, writer(text), "ann")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"provider": None}, "it has no provider: `workerpool agents edit writer --provider NAME`"),
        ({"provider": "odd"}, "its provider odd cannot be used: its type is 'anthropic', which is not supported"),
        ({}, "it has no model, and its provider no default: `workerpool agents edit writer --model NAME`"),
        ({"model": "m"}, None),
    ],
)
def test_what_is_missing_is_said_before_it_is_asked(ann: Desk, given: dict[str, Any], told: str | None) -> None:
    """In the words of the command that mends it; SQL may have kept what the verbs refuse."""
    agents.add_provider(ann, BOX, "ann")
    ann.connection.execute("INSERT INTO workerpool.llm_providers (name, type) VALUES ('odd', 'anthropic')")
    agents.add_agent(ann, agents.NewAgent(**{"name": "writer", "role": "r", "provider": "box"} | given), "ann")
    found = agents.missing(agents.brief(ann, "writer"))
    assert found is None if told is None else (found or "").startswith(told)


@pytest.mark.parametrize(
    "values",
    [
        "INSERT INTO workerpool.llm_providers (name, type, key_variable) VALUES ('x', 'openai', 'sk-not-a-name')",
        "INSERT INTO workerpool.llm_providers (name, type, key_variable, key_file) VALUES ('x', 'openai', 'A', '/b')",
        "INSERT INTO workerpool.llm_providers (name, type, base_url) VALUES ('x', 'openai', 'ftp://x')",
        "INSERT INTO workerpool.agents (name, role, provider) VALUES ('x', 'r', 'nobody')",
        "INSERT INTO workerpool.agents (name, role, model_parameters) VALUES ('x', 'r', '[]')",
    ],
)
def test_the_tables_refuse_it_too(ann: Desk, values: str) -> None:
    """Whoever writes SQL cannot keep a key where a name belongs, nor an agent of nobody."""
    with pytest.raises(errors.IntegrityError):
        ann.connection.execute(values.encode())
