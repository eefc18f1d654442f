"""To ask an agent: a question in, an answer out, and what it took.

Owns: the conversation. Does not own: what failures mean (``verdicts``), nor what is tried again (``patience``).
Invariant: what was spent is in the revision's log whatever became of the question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_ai import Agent, RunContext
from pydantic_ai.capabilities import Hooks
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.usage import RunUsage

from workerpool.agents.following import Following, Writing
from workerpool.agents.model import Line, checking, line_to, opened, output_type, settings, tool
from workerpool.agents.patience import Patience
from workerpool.agents.prompts import Task, system_prompt, user_prompt
from workerpool.agents.verdicts import cut_off, meant
from workerpool.core.agent import AgentBrief, Spent
from workerpool.core.errors import Fail, InvalidPayload
from workerpool.core.wording import counted, shorten
from workerpool.job.job import Job
from workerpool.job.worker_job import WorkerJob

#: How often a model may correct an answer that does not fit its schema.
CORRECTIONS = 2
#: Characters of a tool's arguments in the log.
ARGUMENTS = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent answered: a text, or an object by the schema; and what it took."""

    output: Any
    spent: Spent

    @property
    def metrics(self) -> dict[str, Any]:
        """Return what it took, as a TaskResult has it."""
        return metrics(self.spent)


class Follower(Protocol):
    """Whoever hears of an answer while it comes."""

    def piece(self, text: str) -> None: ...
    def end(self) -> None: ...


def ask(
    job: Job,
    agent: str,
    *,
    title: str = "",
    description: str = "",
    instructions: str = "",
    input: Any = None,
    content: Any = None,
    output_schema: dict[str, Any] | None = None,
    between: tuple[float, float] = (60.0, 80.0),
    step: str = "Execute",
) -> Answer:
    """Ask *agent* and wait for its answer: for ``def`` handlers; while it comes, *step* moves the bar in *between*.

    *content*: what there is already, shown to the model as material; *input*: the request. With *output_schema* (JSON
    schema of an object) the answer is an object that fits it. Raises Fail and Retry with sentences, Cancelled.
    """
    task = Task(title, description, instructions, input, content, output_schema)
    return _in_a_loop(lambda: _ask(job, agent, task, between, step), job)


async def ask_async(
    job: Job,
    agent: str,
    *,
    title: str = "",
    description: str = "",
    instructions: str = "",
    input: Any = None,
    content: Any = None,
    output_schema: dict[str, Any] | None = None,
    between: tuple[float, float] = (60.0, 80.0),
    step: str = "Execute",
) -> Answer:
    """As ``ask``, for ``async def`` handlers."""
    task = Task(title, description, instructions, input, content, output_schema)
    return await _ask(job, agent, task, between, step)


async def _ask(job: Job, agent: str, task: Task, between: tuple[float, float], step: str) -> Answer:
    job.checkpoint()
    brief = found(job.read_agent(agent), agent)
    line = line_to(brief)
    return await asked(job, brief, line, task, Following(job, between, line.parameters.max_tokens, step))


def found(brief: AgentBrief | None, name: str) -> AgentBrief:
    """Return the agent, or raise Fail with a sentence where there is none."""
    if brief is None:
        raise InvalidPayload(
            f"there is no agent {name!r}: `workerpool agents add {name}`, or see `workerpool agents list`"
        )
    return brief


async def asked(job: Job, brief: AgentBrief, line: Line, task: Task, follower: Follower) -> Answer:
    """Ask once for a job, and write into its log what that took, also where it failed. Raises what ``meant`` says."""
    began = time.monotonic()
    usage, patience = RunUsage(), Patience(job)
    try:
        output = await _converse(job, brief, line, task, follower, usage, patience)
    finally:
        follower.end()
        spent = _spent(usage, patience, time.monotonic() - began)
        _write_down(job, brief.name, spent)
    return Answer(output, spent)


async def _converse(
    job: Job | None,
    brief: AgentBrief,
    line: Line,
    task: Task,
    follower: Follower,
    usage: RunUsage,
    patience: Patience,
) -> Any:
    kind = output_type(task.output_schema)
    told = user_prompt(task)
    try:
        async with opened(line) as model:
            agent: Agent[Job | None, Any] = Agent(
                model,
                output_type=kind,
                system_prompt=system_prompt(brief, task),
                model_settings=settings(line.parameters),
                retries=CORRECTIONS,
                tools=[tool(each) for each in line.tools],
                capabilities=[Hooks(model_request_error=patience.asked_in_vain)],
            )
            if task.output_schema is not None:
                agent.output_validator(checking(task.output_schema))
            result = await agent.run(told, deps=job, usage=usage, event_stream_handler=_hearing(job, follower))
    except Exception as error:
        verdict = meant(error, brief, line)
        if verdict is error:
            raise
        raise verdict from None
    if result.response.finish_reason == "length":
        raise cut_off(brief, line)
    return result.output


def _hearing(
    job: Job | None, follower: Follower
) -> Callable[[RunContext[Job | None], AsyncIterable[Any]], Awaitable[None]]:
    async def hear(_context: RunContext[Job | None], events: AsyncIterable[Any]) -> None:
        async for event in events:
            match event:
                case (
                    PartStartEvent(part=TextPart(content=text))
                    | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                ):
                    follower.piece(text)
                case (
                    PartStartEvent(part=ToolCallPart(args=str(text)))
                    | PartDeltaEvent(delta=ToolCallPartDelta(args_delta=str(text)))
                ):
                    follower.piece(text)
                case FunctionToolCallEvent(part=part) if job is not None:
                    arguments = shorten(part.args_as_json_str(), ARGUMENTS)
                    job.log.info(f"called the tool {part.tool_name}", arguments=arguments)
                case _:
                    follower.piece("")
        follower.end()

    return hear


def trial(brief: AgentBrief, prompt: str, write: Callable[[str], None]) -> Spent:
    """Ask an agent once outside of any job, handing on each piece of its answer; returns what it took.

    Raises Fail and Retry with sentences.
    """
    line = line_to(brief)
    began = time.monotonic()
    usage, patience = RunUsage(), Patience(None)
    asyncio.run(_converse(None, brief, line, Task(instructions=prompt), Writing(write), usage, patience))
    return _spent(usage, patience, time.monotonic() - began)


def _in_a_loop(make: Callable[[], Awaitable[Answer]], job: Job) -> Answer:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise Fail("ask() waits, and this handler is async def: use `await ask_async(...)` there")
    running = WorkerJob(None, lambda _token: make(), job.token)
    running.run()
    answer: Answer = running.wait()
    return answer


def _spent(usage: RunUsage, patience: Patience, seconds: float) -> Spent:
    return Spent(usage.input_tokens, usage.output_tokens, usage.requests + patience.failed, round(seconds, 3))


def metrics(spent: Spent) -> dict[str, Any]:
    """Return what was spent, as a TaskResult has it."""
    return {
        "tokensUsed": spent.tokens,
        "inputTokens": spent.input_tokens,
        "outputTokens": spent.output_tokens,
        "requestCount": spent.requests,
        "executionTime": round(spent.seconds, 3),
    }


def _write_down(job: Job, agent: str, spent: Spent) -> None:
    told = f"{agent}: {spent.tokens} tokens in {counted(spent.requests, 'request')}, {spent.seconds:.1f} s"
    job.log.info(told, spent={"agent": agent} | metrics(spent))
