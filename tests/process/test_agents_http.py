"""Agents and providers over HTTP: kept, shown, changed and removed, and everything that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import Databases
from tests.process.asking import OPERATOR, asking, problem_of, shared, token_of
from tests.process.daemon import Daemon

PROVIDER: dict[str, Any] = {"name": "home/box", "type": "openai-compatible", "baseUrl": "http://127.0.0.1:9/v1"}
AGENT: dict[str, Any] = {"name": "writer", "role": "a writer", "provider": "home/box", "tools": ["add"]}
KEY = "sk-proj-0123456789abcdefghij"


@pytest.fixture(scope="module")
def daemon(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests here."""
    with shared(server, template, tmp_path_factory.mktemp("http"), workers=1, api_token=OPERATOR) as daemon:
        yield daemon


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[httpx.Client]:
    """Somebody who may everything; the tables are empty before and after."""
    with asking(daemon, OPERATOR) as client:
        yield client
    daemon.sql("DELETE FROM agents")
    daemon.sql("DELETE FROM llm_providers")


def test_they_are_kept_shown_changed_and_removed(daemon: Daemon, operator: httpx.Client) -> None:
    """Each verb, with an event that names who did it; names may have slashes; null takes something away."""
    kept = operator.post("/api/providers", json=PROVIDER)
    assert (kept.status_code, kept.json()["agents"]) == (201, 0)
    agent = operator.post("/api/agents", json=AGENT | {"model_parameters": {"temperature": 0.1, "topP": 1}})
    assert (agent.status_code, agent.json()["modelParameters"]) == (201, {"temperature": 0.1, "topP": 1})
    provider = operator.get("/api/providers/home%2Fbox").json()
    assert (provider["baseUrl"], provider["agents"], provider["keyVariable"]) == (PROVIDER["baseUrl"], 1, None)
    changed = operator.patch("/api/providers/home%2Fbox", json={"keyVariable": "BOX_KEY", "defaultModel": "m"}).json()
    assert (changed["keyVariable"], changed["defaultModel"], changed["type"]) == ("BOX_KEY", "m", "openai-compatible")
    changed = operator.patch("/api/providers/home%2Fbox", json={"keyFile": "/run/key"}).json()
    assert (changed["keyVariable"], changed["keyFile"]) == (None, "/run/key"), "one takes the other's place"
    told = operator.patch("/api/agents/writer", json={"modelParameters": {"topP": None, "seed": 3}, "tools": None})
    assert (told.json()["modelParameters"], told.json()["tools"]) == ({"temperature": 0.1, "seed": 3}, [])
    refused = operator.delete("/api/providers/home%2Fbox")
    assert problem_of(refused, 409)["detail"].startswith("the provider home/box is used by writer")
    assert operator.delete("/api/agents/writer").status_code == 204
    assert operator.delete("/api/providers/home%2Fbox").status_code == 204
    assert (operator.get("/api/agents").json(), operator.get("/api/providers").json()) == (
        {"agents": []},
        {"providers": []},
    )
    events = daemon.sql(
        "SELECT control, action, actor, target FROM control_events WHERE control IN ('agent', 'provider')"
    )
    done = [(event["control"], event["action"]) for event in events]
    assert done == [
        ("provider", "add"), ("agent", "add"), ("provider", "edit"), ("provider", "edit"), ("agent", "edit"),
        ("agent", "remove"), ("provider", "remove"),
    ]  # fmt: skip
    assert {event["target"] for event in events} == {"writer", "home/box"}
    assert all(event["actor"] for event in events)


@pytest.mark.parametrize(
    ("what", "body", "status", "sentence"),
    [
        ("providers", {"name": "x", "type": "anthropic"}, 422, "openai-compatible"),
        ("providers", {"name": "x", "type": "openai-compatible"}, 422, "needs a base URL"),
        ("providers", {"name": "x", "type": "openai", "baseUrl": "ftp://x"}, 422, "baseUrl"),
        ("providers", {"name": "x", "type": "openai", "keyVariable": "A", "keyFile": "/b"}, 422, "both a variable and"),
        ("providers", {"name": "x", "type": "openai", "keyFile": KEY}, 422, "looks like a key"),
        ("providers", {"name": "x", "type": "openai", "keyVariable": KEY}, 422, "keyVariable"),
        ("providers", {"name": KEY, "type": "openai"}, 422, "the name of the provider looks like a key"),
        ("providers", {"name": "x", "type": "openai", "baseUrl": f"http://me:{KEY}@x/v1"}, 422, "looks like a key"),
        ("providers", {"name": "x", "type": "openai", "baseUrl": "http://me:hush@x/v1"}, 422, "has a password"),
        ("providers", {"name": "x", "type": KEY}, 422, "type"),
        ("providers", {"name": "x", "type": "openai", "key": KEY}, 422, "key"),
        ("providers", {"name": "un\u200bseen", "type": "openai"}, 422, "none of them unseen"),
        ("providers", {"name": " x", "type": "openai"}, 422, "name"),
        ("providers", PROVIDER, 409, "there is a provider home/box already"),
        ("agents", {"name": "x"}, 422, "role"),
        ("agents", {"name": "x", "role": "r", "provider": "homebox"}, 404, "is it home/box?"),
        (
            "agents",
            {"name": "x", "role": "r", "modelParameters": {"temperature": 3}},
            422,
            "modelParameters.temperature",
        ),
        ("agents", {"name": "x", "role": "r", "modelParameters": {"heat": 3}}, 422, "modelParameters.heat"),
        ("agents", {"name": "x", "role": "r", "tools": ["a b"]}, 422, "tools"),
        ("agents", {"name": "x", "role": "r", "instructions": f"use {KEY}"}, 422, "what looks like a key"),
        ("agents", {"name": "x", "role": "r", "provider": KEY}, 422, "what looks like a key"),
        ("agents", AGENT, 409, "there is an agent writer already"),
    ],
)
def test_what_cannot_be_is_refused(
    operator: httpx.Client, what: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    """With a problem that says what and what is allowed; a key is never repeated, and nothing is kept of it."""
    operator.post("/api/providers", json=PROVIDER)
    operator.post("/api/agents", json=AGENT)
    answer = operator.post(f"/api/{what}", json=body)
    problem_of(answer, status)
    assert sentence in answer.text
    assert KEY not in answer.text
    listed = operator.get("/api/providers").json()["providers"] + operator.get("/api/agents").json()["agents"]
    assert [each["name"] for each in listed] == ["home/box", "writer"]


def test_a_change_that_cannot_be_changes_nothing(daemon: Daemon, operator: httpx.Client) -> None:
    """Neither the row nor the events; what is not there is 404 with what is near."""
    operator.post("/api/providers", json=PROVIDER)
    operator.post("/api/agents", json=AGENT)
    before = daemon.sql(
        "SELECT (SELECT count(*) FROM control_events) AS n, a::text, p::text FROM agents a, llm_providers p"
    )
    problem_of(operator.patch("/api/providers/home%2Fbox", json={"baseUrl": None}), 422)
    problem_of(operator.patch("/api/providers/home%2Fbox", json={"keyFile": KEY}), 422)
    problem_of(operator.patch("/api/providers/home%2Fbox", json={"keyFile": "/a", "keyVariable": "B"}), 422)
    problem_of(operator.patch("/api/providers/home%2Fbox", json={"type": None}), 422)
    assert operator.patch("/api/providers/home%2Fbox", json={}).status_code == 200
    assert operator.patch("/api/agents/writer", json={}).status_code == 200
    problem_of(operator.patch("/api/agents/writer", json={"modelParameters": {"maxTokens": 0}}), 422)
    problem_of(operator.patch("/api/agents/writer", json={"provider": "nobody"}), 404)
    problem_of(operator.patch("/api/agents/writer", json={"role": None}), 422)
    assert "is it writer?" in problem_of(operator.patch("/api/agents/writre", json={"model": "m"}), 404)["detail"]
    after = daemon.sql(
        "SELECT (SELECT count(*) FROM control_events) AS n, a::text, p::text FROM agents a, llm_providers p"
    )
    assert after == before


def test_names_are_in_any_script(operator: httpx.Client) -> None:
    """Those of the command line's too: letters of any language, slashes, percent signs; null clears the parameters."""
    for name in ("Prüfer", "редактор/2", "100%41", "a b"):
        path = f"/api/agents/{quote(name, safe='')}"
        made = operator.post("/api/agents", json={"name": name, "role": "r", "modelParameters": {"seed": 1}})
        assert (made.status_code, made.json()["name"]) == (201, name), made.text
        assert operator.get(path).json()["name"] == name
        assert operator.patch(path, json={"modelParameters": None}).json()["modelParameters"] == {}
        assert operator.delete(path).status_code == 204


def test_a_viewer_looks_and_others_do_not(daemon: Daemon, operator: httpx.Client) -> None:
    """Roles as everywhere: a viewer reads, only an operator writes, a worker and a stranger do neither."""
    operator.post("/api/providers", json=PROVIDER)
    with asking(daemon, token_of(daemon, "a-viewer", "viewer")) as viewer:
        assert viewer.get("/api/providers").status_code == 200
        assert viewer.get("/api/agents").status_code == 200
        problem_of(viewer.post("/api/agents", json=AGENT), 403)
        problem_of(viewer.patch("/api/providers/home%2Fbox", json={"defaultModel": "m"}), 403)
        problem_of(viewer.delete("/api/providers/home%2Fbox"), 403)
    with asking(daemon, token_of(daemon, "a-worker", "worker")) as worker:
        problem_of(worker.get("/api/agents"), 403)
    with asking(daemon) as stranger:
        problem_of(stranger.get("/api/agents"), 401)
