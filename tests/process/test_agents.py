"""Revisions performed by agents: the real daemon and the real client, against a model that answers by script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.conftest import Databases
from tests.process.asking import asking, shared
from tests.process.daemon import Daemon, until
from workerpool.rehearsal import Asked, ModelServer, Reply

TOOLS = Path(__file__).parent / "agent_tools.py"
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
CANARY = "sk-canary-0123456789-of-the-key"


class Stage:
    """A daemon and a model: each agent has replies of its own, told apart by its name."""

    def __init__(self, daemon: Daemon, model: ModelServer, replies: dict[str, list[Reply]]) -> None:
        self.daemon, self.model, self._replies = daemon, model, replies

    def agent(self, name: str, *replies: Reply, provider: str | None = "rehearsal", **columns: Any) -> str:
        """Make an agent whose model gives these replies, the last one again and again."""
        self._replies[name] = list(replies)
        given = {"name": name, "role": "a writer", "provider": provider, "model": "scripted"} | columns
        places = ", ".join(["%s"] * len(given))
        values = [Jsonb(value) if isinstance(value, dict) else value for value in given.values()]
        self.daemon.sql(f"INSERT INTO agents ({', '.join(given)}) VALUES ({places})", *values)
        return name

    def asked(self, name: str) -> list[Asked]:
        """What the model of an agent was asked."""
        return [each for each in self.model.asked if f"You are: {name}\n" in each.system]

    def run(self, name: str, item: str = "", **payload: Any) -> dict[str, Any]:
        """Have the agent perform a revision, and return its row at the end."""
        return self.daemon.ended(self.insert(name, item, **payload))

    def insert(self, name: str, item: str = "", columns: dict[str, Any] | None = None, **payload: Any) -> int:
        """Enqueue a revision for the agent."""
        payload = {"agent": name, "instructions": "write", "input": "about hens"} | payload
        return self.daemon.insert(item or f"item of {name}", "agent", payload, **columns or {})


@pytest.fixture(scope="module")
def stage(server: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One daemon and one model for all tests here."""
    replies: dict[str, list[Reply]] = {}

    def script(asked: Asked) -> Reply:
        name = asked.system.removeprefix("You are: ").partition("\n")[0]
        left = replies[name]
        return left.pop(0) if len(left) > 1 else left[0]

    folder = tmp_path_factory.mktemp("agents")
    key = folder / "key"
    key.write_text(CANARY + "\n")
    settings = {"workers": 2, "agent_tools": f"{TOOLS}:add,{TOOLS}:explode", "pause_poll_interval": "200ms"}
    with (
        ModelServer(script) as model,
        shared(server, template, folder, **settings) as daemon,
    ):
        daemon.sql(
            "INSERT INTO llm_providers (name, type, base_url, key_file)"
            " VALUES ('rehearsal', 'openai-compatible', %s, %s)",
            model.url,
            str(key),
        )
        yield Stage(daemon, model, replies)


def test_a_task_is_performed_in_five_steps(stage: Stage) -> None:
    """The contract's steps and percentages, each in the log; the answer, its tokens, and what the model was told."""
    name = stage.agent(
        "Hetty", Reply(text="Hens lay eggs.", usage=(31, 5)), backstory="grew up on a farm", instructions="Be brief."
    )
    row = stage.run(name, title="Hens", description="A page on hens", instructions="Write one sentence.")
    assert row["status"] == "completed", row["error_message"]
    result = row["result"]
    assert (result["output"], result["summary"], result["artifacts"]) == ("Hens lay eggs.", "Hens: A page on hens", [])
    metrics = result["metrics"]
    assert (metrics["tokensUsed"], metrics["requestCount"]) == (36, 1)
    assert 0 < metrics["executionTime"] < 30
    assert (row["progress_percentage"], row["current_step"], row["total_steps"]) == (100, "Finalise", 5)
    lines = stage.daemon.lines(row["id"])
    steps = ["Configure provider", "Prepare context", "Execute", "Process results", "Finalise"]
    wanted = ["Initialise", *(f"Step {place} of 5: {step}" for place, step in enumerate(steps, 1))]
    assert [line for line in lines if line in wanted] == wanted
    assert "Hens lay eggs." in lines
    (asked,) = stage.asked(name)
    for told in (
        "You are: Hetty",
        "Role: a writer",
        "Backstory: grew up on a farm",
        "Current goal: Hens: A page on hens",
    ):
        assert told in asked.system
    assert "Task instructions: Be brief.\nWrite one sentence." in asked.system
    assert "<input>\nabout hens\n</input>" in asked.last_user
    assert (asked.body["temperature"], asked.body["max_tokens"], asked.model) == (0.7, 2000, "scripted")
    assert asked.headers["authorization"] == f"Bearer {CANARY}"


def test_revisions_of_an_item_stack(stage: Stage) -> None:
    """The second one sees what the first one made, as material."""
    name = stage.agent("Stacker", Reply(text="one"), Reply(text="one two"))
    first, second = stage.insert(name, "stack"), stage.insert(name, "stack", input="go on")
    assert stage.daemon.ended(first)["result"]["output"] == "one"
    assert stage.daemon.ended(second)["result"]["output"] == "one two"
    assert "<content>" not in stage.asked(name)[0].last_user
    assert "<content>\none\n</content>" in stage.asked(name)[1].last_user


def test_parameters_are_the_agents(stage: Stage) -> None:
    """What model_parameters say is asked for; the provider's default model is used where the agent names none."""
    stage.daemon.sql("UPDATE llm_providers SET default_model = 'the usual' WHERE name = 'rehearsal'")
    given = {"temperature": 0, "maxTokens": 77, "topP": 0.5, "stop": ["END"], "seed": 3}
    name = stage.agent("Parameter", Reply(text="ok"), model=None, model_parameters=given)
    assert stage.run(name)["status"] == "completed"
    body = stage.asked(name)[0].body
    wanted = {"temperature": 0, "max_tokens": 77, "top_p": 0.5, "stop": ["END"], "seed": 3, "model": "the usual"}
    assert {key: body[key] for key in wanted} == wanted


def test_an_answer_fits_its_schema_or_is_corrected(stage: Stage) -> None:
    """Structured output is an object that fits the payload's schema; one that does not goes back to the model."""

    def call(arguments: str) -> Reply:
        return Reply(tool_calls=[{"name": "final_result", "arguments": arguments}], usage=(10, 5))

    name = stage.agent("Shaper", call('{"title": 7}'), call('{"title": "Hens"}'))
    row = stage.run(name, outputSchema=SCHEMA)
    assert row["status"] == "completed", row["error_message"]
    assert row["result"]["output"] == {"title": "Hens"}
    assert row["result"]["metrics"]["tokensUsed"] == 30
    assert row["result"]["metrics"]["requestCount"] == 2
    assert "not of type" in str(stage.asked(name)[1].messages)


def test_an_agent_uses_its_tools(stage: Stage) -> None:
    """A function of the allow-list is called, and what it returned goes back to the model; it is in the log."""
    name = stage.agent(
        "Adder",
        Reply(tool_calls=[{"name": "add", "arguments": '{"first": 20, "second": 22}'}]),
        Reply(text="It is 42."),
        tools=["add"],
    )
    row = stage.run(name)
    assert row["result"]["output"] == "It is 42."
    assert any("called the tool add" in line for line in stage.daemon.lines(row["id"]))
    assert stage.asked(name)[1].messages[-1]["content"] == "42"
    assert [each["function"]["name"] for each in stage.asked(name)[0].tools] == ["add"], "no other one is offered"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, and what becomes of the revision."""

    name: str
    replies: tuple[Reply, ...]
    status: str
    attempt: int
    tokens: int | None
    message: str
    kind: str | None = "error"
    requests: int = 1
    columns: dict[str, Any] = field(default_factory=dict)
    payload: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)


def error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """An error as OpenAI tells it."""
    return Reply(status=status, error={"message": message, "code": code}, headers=headers)


SOON = {"retry-after-ms": "20"}
OK = Reply(text="done", usage=(7, 3))
FAULTS = [
    Fault("429-then-good", (error(429, "slow down", **SOON), OK), "completed", 1, 10, "", None, 2),
    Fault("500-then-good", (error(500, "oops", **SOON), error(503, "oops", **SOON), OK), "completed", 1, 10, "", None,
          3),
    Fault("429-for-ever", (error(429, "slow down", **SOON),), "failed", 1, 0, "too busy, or failed (429): slow down",
          requests=4, row={"max_attempts": 1}),
    Fault("429-for-an-hour", (error(429, "come back", **{"retry-after": "3600"}),), "failed", 1, 0, "(429): come back",
          row={"max_attempts": 1}),
    Fault("500-in-one-attempt", (*[error(500, "broken", **SOON)] * 4, OK), "completed", 2, 10, "", None, 5,
          row={"max_attempts": 2}),
    Fault("quota", (error(429, "pay", "insufficient_quota"),), "failed", 1, 0, "is used up (429): pay"),
    Fault("key-refused", (error(401, f"Incorrect API key provided: {CANARY[:6]}*****{CANARY[-4:]}."),), "failed", 1, 0,
          "refused the key (401): Incorrect API key provided: ***"),
    Fault("no-model", (error(404, "no such model", "model_not_found"),), "failed", 1, 0, "has no model 'scripted'"),
    Fault("bad-request", (error(400, "temperature must be good"),), "failed", 1, 0, "(400): temperature must be good"),
    Fault("too-long", (error(400, "too many tokens", "context_length_exceeded"),), "failed", 1, 0, "more to read than"),
    Fault("cut", (Reply(text="half of it is", cut_after=2), OK), "completed", 2, 10, "", None, 2,
          row={"max_attempts": 2}),
    Fault("cut-for-ever", (Reply(text="half of it is", cut_after=2),), "failed", 1, 0, "was lost",
          row={"max_attempts": 1}),
    Fault("no-json", (Reply(raw=["data: {this is no json}", "", "data: [DONE]", ""]),), "failed", 1, 0,
          "not the OpenAI chat completions protocol"),
    Fault("html", (Reply(status=200, raw=["<html>a proxy's page</html>"]),), "failed", 1, 0, "did not answer as"),
    Fault("silent", (Reply(text="late", delay=20),), "failed", 1, 0, "said nothing for 1 s",
          columns={"model_parameters": {"timeout": 1}}, row={"max_attempts": 1}),
    Fault("slow", (Reply(text="a b c d e f g h", chunk_delay=0.5),), "failed", 1, 0, "time limit", "timeout",
          row={"max_attempts": 1, "timeout_seconds": 1}),
    Fault("cut-off", (Reply(text="half an", finish_reason="length", usage=(9, 4)),), "failed", 1, 13,
          "cut off at maxTokens (2000)"),
    Fault("filter", (Reply(text="", finish_reason="content_filter", usage=(9, 0)),), "failed", 1, 9, "content filter"),
    Fault("empty", (Reply(text="", usage=(9, 0)),), "failed", 1, None, "did not answer as it was asked to", requests=3),
    Fault("endless", (Reply(text="x", chunks=["y" * 5000] * 300),), "failed", 1, 0, "more than 1048576 characters"),
    Fault("never-fits", (Reply(tool_calls=[{"name": "final_result", "arguments": '{"title": 1}'}], usage=(2, 1)),),
          "failed", 1, 9, "did not answer as it was asked to", requests=3, payload={"outputSchema": SCHEMA}),
    Fault("arguments-no-json", (Reply(tool_calls=[{"name": "final_result", "arguments": '{"title": '}], usage=(2, 1)),),
          "failed", 1, 9, "did not answer as it was asked to", requests=3, payload={"outputSchema": SCHEMA}),
    Fault("tool-fails", (Reply(tool_calls=[{"name": "explode", "arguments": '{"why": "a test"}'}], usage=(2, 1)),),
          "failed", 1, 3, "exploded: a test", columns={"tools": ["explode"]}, row={"max_attempts": 1}),
    Fault("tool-fails-once", (Reply(tool_calls=[{"name": "explode", "arguments": '{"why": "x"}'}], usage=(2, 1)), OK),
          "completed", 2, 13, "", None, 2, columns={"tools": ["explode"]}, row={"max_attempts": 2}),
    Fault("tool-forbidden", (OK,), "failed", 1, None, "WORKERPOOL_AGENT_TOOLS allows: add, explode", requests=0,
          columns={"tools": ["rm"]}),
    Fault("bad-schema", (OK,), "failed", 1, None, "outputSchema is no JSON schema", "invalid_payload", 0,
          payload={"outputSchema": {"type": "nonsense"}}),
    Fault("list-schema", (OK,), "failed", 1, None, "must be of type object", "invalid_payload", 0,
          payload={"outputSchema": {"type": "array"}}),
    Fault("nothing-to-do", (OK,), "failed", 1, None, "nothing to do", "invalid_payload", 0,
          payload={"instructions": "", "input": None}),
    Fault("no-provider", (OK,), "failed", 1, None, "has no provider: `workerpool agents edit", requests=0,
          columns={"provider": None}),
    Fault("bad-parameter", (OK,), "failed", 1, None, "temperature is 9; allowed: a number from 0 to 2", requests=0,
          columns={"model_parameters": {"temperature": 9}}),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_failure_table(stage: Stage, fault: Fault) -> None:
    """Each fault has its outcome, its attempts, the tokens that are counted, and its sentence."""
    name = stage.agent(fault.name, *fault.replies, **fault.columns)
    row = stage.daemon.ended(stage.insert(name, columns=fault.row, **fault.payload))
    seen = (row["status"], row["attempt"], row["error_kind"] if row["status"] == "failed" else None)
    assert seen == (fault.status, fault.attempt, fault.kind), row["error_message"]
    if fault.status == "failed":
        assert fault.message in row["error_message"]
        assert CANARY not in row["error_message"]
        assert "Traceback" not in row["error_message"]
    assert len(stage.asked(name)) == fault.requests
    if fault.tokens is not None:
        spent = stage.daemon.sql(
            "SELECT sum((data->'spent'->>'tokensUsed')::int)::int AS tokens,"
            " sum((data->'spent'->>'requestCount')::int)::int AS n"
            " FROM execution_log WHERE revision_id = %s AND data ? 'spent'",
            row["id"],
        )[0]
        assert (spent["tokens"], spent["n"]) == (fault.tokens, fault.requests)
        if fault.status == "completed":
            metrics = row["result"]["metrics"]
            assert (metrics["tokensUsed"], metrics["requestCount"]) == (fault.tokens, fault.requests)


@pytest.mark.parametrize(
    ("provider", "sentence"),
    [
        ({"type": "openai", "key_variable": "NO_SUCH_KEY"}, "set NO_SUCH_KEY in the environment of the workers"),
        ({"type": "openai", "key_file": "/nowhere/key"}, "cannot be read from /nowhere/key"),
        ({"type": "anthropic"}, "its type is 'anthropic', which is not supported; allowed: openai, deepseek, openai-"),
        ({"type": "openai-compatible"}, "needs a base URL"),
    ],
    ids=["no-key", "no-key-file", "type", "no-address"],
)
def test_a_provider_that_cannot_be_used_is_explained(stage: Stage, provider: dict[str, str], sentence: str) -> None:
    """The sentence says what is missing and how to mend it; the provider is not asked, and it is not tried again."""
    name = "with " + "".join(provider.values())
    given = {"name": name} | provider
    places = ", ".join(["%s"] * len(given))
    stage.daemon.sql(f"INSERT INTO llm_providers ({', '.join(given)}) VALUES ({places})", *given.values())
    row = stage.run(stage.agent(name, OK, provider=name))
    assert (row["status"], row["attempt"]) == ("failed", 1)
    assert sentence in row["error_message"]
    assert "workerpool providers edit" in row["error_message"]


def test_an_agent_that_is_not_there_is_named(stage: Stage) -> None:
    """With the command that adds one."""
    row = stage.run("Nobody")
    assert (row["status"], row["error_kind"]) == ("failed", "invalid_payload")
    assert "no agent 'Nobody': `workerpool agents add Nobody`" in row["error_message"]


def test_a_cancel_ends_an_answer_at_once(stage: Stage) -> None:
    """Between two pieces, or while the provider is silent; what was spent is in the log all the same."""
    pieces = stage.agent("Chatter", Reply(text="word " * 4000, chunk_delay=0.05))
    silent = stage.agent("Silent", Reply(text="late", delay=25))
    for name in (pieces, silent):
        revision = stage.insert(name)
        until(partial(stage.asked, name), what="the model was asked")
        stage.daemon.sql("UPDATE revisions SET cancel_requested_at = clock_timestamp() WHERE id = %s", revision)
        row = stage.daemon.ended(revision, 10)
        assert row["status"] == "cancelled", row["error_message"]
        assert any("0 tokens in" in line for line in stage.daemon.lines(revision))


def test_a_quiesce_holds_an_answer_between_two_pieces(stage: Stage) -> None:
    """Held for as long as the pause lasts, and safe meanwhile; then the answer goes on, in the same attempt."""
    name = stage.agent("Held", Reply(text="word " * 100, chunk_delay=0.03))
    revision = stage.insert(name)
    until(lambda: stage.daemon.row(revision)["current_step"] == "Execute", what="it executes")
    stage.daemon.sql(
        "INSERT INTO pauses (scope, mode, reason, actor, holder) VALUES ('all', 'quiesce', 'test', 't', 't')"
    )
    until(lambda: stage.daemon.sql("SELECT is_safe, held FROM safe_state")[0] == {"is_safe": True, "held": 1})
    before = stage.daemon.row(revision)
    stage.daemon.sql("DELETE FROM pauses")
    row = stage.daemon.ended(revision)
    assert (row["status"], row["attempt"], before["status"]) == ("completed", 1, "processing")
    assert row["result"]["output"].split() == ["word"] * 100
    assert len(stage.asked(name)) == 1


def test_streamed_tokens_move_the_bar_and_are_in_the_log(stage: Stage) -> None:
    """While the answer comes the bar is between 60 and 80 and rises, and the log has what came."""
    name = stage.agent("Streamer", Reply(text="word " * 400, chunk_delay=0.02), model_parameters={"maxTokens": 500})
    revision = stage.insert(name)
    seen: set[float] = set()

    def moved() -> bool:
        row = stage.daemon.row(revision)
        if row["current_step"] == "Execute":
            seen.add(float(row["progress_percentage"]))
        return row["status"] == "completed" or len(seen) > 3

    until(moved, what="the bar moves")
    assert len(seen) > 3, seen
    assert all(60 <= each <= 80 for each in seen)
    until(
        lambda: any(line.startswith("word word") for line in stage.daemon.lines(revision)), what="the answer in the log"
    )
    assert stage.daemon.ended(revision)["status"] == "completed"


def test_the_key_is_nowhere(stage: Stage) -> None:
    """S27: whatever the tests above did, the key is in no log, no row, no process list, no page."""
    tables = stage.daemon.sql("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'workerpool'")
    rows = "".join(str(stage.daemon.sql(f"SELECT r::text FROM {row['t']} r")) for row in tables)
    shown = [
        Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
        for pid in (stage.daemon.pid, *stage.daemon.others())
        for name in ("cmdline", "environ")
    ]
    assert CANARY in stage.model.asked[0].headers["authorization"], "it was sent where it belongs"
    pages = ["/agents", "/providers/rehearsal", "/api/providers", "/api/agents", "/agents/nobody", "/providers/nobody"]
    failed = [row["id"] for row in stage.daemon.sql("SELECT id FROM revisions WHERE status = 'failed'")]
    assert len(failed) > 20
    pages += [f"{way}/{id}" for id in failed for way in ("/revisions", "/api/revisions")]
    with asking(stage.daemon) as client:
        answers = [client.get(page) for page in pages]
    assert {answer.status_code for answer in answers} == {200, 404}
    for place in (stage.daemon.text(), rows, *shown, *(answer.text for answer in answers)):
        assert CANARY not in place
        assert CANARY[-12:] not in place
