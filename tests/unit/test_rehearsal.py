"""The scripted model, asked with the client that real programs ask with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from workerpool.rehearsal import Asked, BadRules, ModelServer, Reply, rules
from workerpool.rehearsal.server import NotLoopback

HELLO = [{"role": "system", "content": "You are a test."}, {"role": "user", "content": "Say hello."}]
TOOL = {"name": "add", "arguments": '{"first": 1, "second": 2}'}


@contextmanager
def model(*replies: Reply) -> Iterator[tuple[ModelServer, openai.OpenAI]]:
    """A server that gives these replies in turn, the last one again and again, and a client of it."""
    left = list(replies)
    before = threading.active_count()
    with (
        ModelServer(lambda asked: left.pop(0) if len(left) > 1 else left[0]) as server,
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(api_key="k", base_url=server.url, max_retries=0, timeout=5, http_client=http) as client,
    ):
        yield server, client
    assert threading.active_count() == before, "a thread is left"


def create(client: openai.OpenAI, **more: Any) -> Any:
    """Ask."""
    return client.chat.completions.create(model="m", messages=HELLO, **more)


def test_a_text_comes_whole_or_in_words_with_its_tokens() -> None:
    """What the script says is what the client reads, either way."""
    with model(Reply(text="Hello to  you.\nBye.", usage=(5, 3))) as (server, client):
        answer = create(client)
        assert answer.choices[0].message.content == "Hello to  you.\nBye."
        assert (answer.choices[0].finish_reason, answer.usage.total_tokens) == ("stop", 8)
        events = list(create(client, stream=True, stream_options={"include_usage": True}))
        pieces = [each.choices[0].delta.content for each in events if each.choices and each.choices[0].delta.content]
        assert len(pieces) == 4
        assert "".join(pieces) == "Hello to  you.\nBye."
        assert events[-1].usage.total_tokens == 8
        assert [each.id for each in client.models.list()] == ["scripted"]
    assert [(each.number, each.model, each.stream) for each in server.asked] == [(1, "m", False), (2, "m", True)]
    assert (server.asked[0].system, server.asked[0].last_user) == ("You are a test.", "Say hello.")
    assert server.asked[0].headers["authorization"] == "Bearer k"


def test_tools_are_called_whole_or_in_pieces() -> None:
    """Arguments come whole, or in two halves that fit together."""
    with model(Reply(tool_calls=[TOOL])) as (_, client):
        call = create(client).choices[0].message.tool_calls[0]
        assert (call.function.name, call.function.arguments) == ("add", TOOL["arguments"])
        parts = [each.choices[0].delta.tool_calls for each in create(client, stream=True) if each.choices]
        calls = [each[0].function for each in parts if each]
        assert calls[0].name == "add"
        assert len(calls) == 3
        assert "".join(each.arguments for each in calls) == TOOL["arguments"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_an_error_is_the_clients_own(status: int, kind: type[openai.APIStatusError]) -> None:
    """Each status is the client's error for it, with message, code and headers."""
    reply = Reply(status=status, error={"message": "not now", "code": "c"}, headers={"Retry-After": "7"})
    with model(reply) as (_, client):
        for stream in (False, True):
            with pytest.raises(kind, match="not now") as caught:
                create(client, stream=stream)
            assert caught.value.code == "c"
            assert caught.value.response.headers["retry-after"] == "7"


def test_what_breaks_is_broken_for_the_client() -> None:
    """A connection that is cut, a body that is no protocol, and a silence are what they are in the world."""
    with model(Reply(text="one two three", cut_after=1)) as (_, client), pytest.raises(openai.APIConnectionError):
        list(create(client, stream=True))
    with model(Reply(cut_after=0)) as (_, client), pytest.raises(openai.APIConnectionError):
        create(client)
    with model(Reply(raw=["data: {no json", ""])) as (_, client), pytest.raises(json.JSONDecodeError):
        list(create(client, stream=True))
    with model(Reply(text="late", delay=30)) as (_, client), pytest.raises(openai.APITimeoutError):
        create(client, timeout=0.2)


def test_a_stop_waits_for_nobody() -> None:
    """Answers that are delayed, and clients that keep their connection, hold nothing up."""
    began = time.monotonic()
    with model(Reply(text="late", delay=60)) as (server, client), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(create, client)
        while not server.asked:
            assert time.monotonic() - began < 5
        server.stop()
        with pytest.raises(openai.APIConnectionError):
            waiting.result(5)
    assert time.monotonic() - began < 5


def test_many_may_ask_at_once() -> None:
    """Eight at the same time wait once, not eight times, and each gets its own answer."""
    with (
        ModelServer(lambda asked: Reply(text=asked.last_user, delay=0.3)) as server,
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(api_key="k", base_url=server.url, http_client=http) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def ask(number: int) -> str | None:
            said = [{"role": "user", "content": f"number {number}"}]
            return client.chat.completions.create(model="m", messages=said).choices[0].message.content  # type: ignore[arg-type]

        began = time.monotonic()
        assert list(pool.map(ask, range(8))) == [f"number {number}" for number in range(8)]
        assert time.monotonic() - began < 2
        assert sorted(each.number for each in server.asked) == list(range(1, 9))


def asked(system: str, user: str) -> Asked:
    """A request."""
    messages = [{"role": "developer", "content": system}, {"role": "user", "content": [{"type": "text", "text": user}]}]
    return Asked({"messages": messages}, 1, {})


def test_the_first_rule_that_matches_and_is_not_used_up_answers(tmp_path: Path) -> None:
    """By the system's text, by what was said last, and as often as the rule says."""
    file = tmp_path / "rules.json"
    file.write_text(
        json.dumps(
            [
                {"agent": "editor", "when": "blue", "times": 1, "reply": {"status": 429, "usage": [1, 2]}},
                {"agent": "editor", "reply": {"text": "edited"}},
                {"when": "^hello$", "reply": {"text": "greeted"}},
            ]
        )
    )
    script = rules(file)
    assert script(asked("an editor", "make it blue")) == Reply(status=429, usage=(1, 2))
    assert script(asked("an editor", "make it blue")).text == "edited"
    assert script(asked("a critic", "hello")).text == "greeted"
    assert script(asked("a critic", "hello there")).status == 404


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{}", "it is not a list; allowed: a list of rules"),
        ("[", "it is not JSON"),
        ('[{"when": "x"}]', "rule 1: it has no reply"),
        ('[{"reply": {}}, {"reply": {}, "whenever": 1}]', "rule 2: key 'whenever' is not known; allowed: agent, when"),
        ('[{"reply": {"txt": "x"}}]', "rule 1 reply: key 'txt' is not known; allowed: text,"),
        ('[{"reply": {"status": "429"}}]', "rule 1 reply status: '429'; allowed: a number such as 429"),
        ('[{"reply": {}, "times": 0}]', "rule 1 times: 0; allowed: a whole number from 1"),
        ('[{"reply": {}, "when": "("}]', "rule 1 when: '('"),
        ('[{"reply": {}, "agent": 7}]', "rule 1 agent: 7"),
    ],
)
def test_a_mistake_in_the_rules_is_located(tmp_path: Path, given: str, sentence: str) -> None:
    """Which rule, which key, and what is allowed."""
    file = tmp_path / "rules.json"
    file.write_text(given)
    with pytest.raises(BadRules) as caught:
        rules(file)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


def test_it_is_for_this_machine_alone() -> None:
    """An address that others reach is refused; so is a body without a length, or that is no JSON."""
    with pytest.raises(NotLoopback, match=r"not on .0\.0\.0\.0"):
        ModelServer(lambda asked: Reply(), host="0.0.0.0")
    with model(Reply(text="x")) as (server, _):
        post = f"{server.url}/chat/completions"
        assert httpx.post(post, content=b"[]", trust_env=False).status_code == 400
        assert httpx.post(post, content=iter([b"{}"]), trust_env=False).status_code == 413
        assert httpx.post(f"{server.url}/completions", json={}, trust_env=False).status_code == 404
    assert server.asked == []
