"""The model behind an agent, as pydantic-ai is told of it.

Owns: the client, its settings, and which structured outputs are possible. Does not own: what is said. Invariant: the
client never tries again by itself: what is tried again is counted (``patience``).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from openai import AsyncOpenAI
from pydantic_ai import ModelRetry, StructuredDict, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.deepseek import DeepSeekProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from workerpool.agents.keys import NO_KEY, key_of
from workerpool.core.agent import AgentBrief, Parameters, Provider, parameters, wrong_with
from workerpool.core.errors import Fail, InvalidPayload
from workerpool.handlers import registry


@dataclass(frozen=True, slots=True)
class Line:
    """What it takes to ask: the provider, the model's name, how it is asked, the key, and the agent's tools."""

    provider: Provider
    model: str
    parameters: Parameters
    key: str | None
    tools: tuple[Callable[..., Any], ...]


def line_to(brief: AgentBrief) -> Line:
    """Return what it takes to ask this agent.

    Raises Fail with a sentence that says what is missing and how to mend it.
    """
    provider, edit = brief.provider, f"`workerpool agents edit {brief.name}"
    if provider is None:
        raise Fail(f"the agent {brief.name!r} has no provider: {edit} --provider NAME` (`workerpool providers list`)")
    wrong = wrong_with(provider)
    if wrong is not None:
        raise Fail(
            f"the provider {provider.name!r} cannot be used: {wrong}; `workerpool providers edit {provider.name}`"
        )
    if brief.model_used is None:
        raise Fail(f"the agent {brief.name!r} has no model, and its provider no default: {edit} --model NAME`")
    try:
        how = parameters(brief.model_parameters)
    except ValueError as error:
        raise Fail(f"the agent {brief.name!r} cannot be asked: {error}; {edit}` mends it") from None
    return Line(provider, brief.model_used, how, key_of(provider), _tools(brief))


def _tools(brief: AgentBrief) -> tuple[Callable[..., Any], ...]:
    allowed = registry.tools()
    for name in brief.tools:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise Fail(
                f"the agent {brief.name!r} has the tool {name!r}, which is not allowed here; "
                f"WORKERPOOL_AGENT_TOOLS allows: {known}"
            )
    return tuple(allowed[name] for name in brief.tools)


@asynccontextmanager
async def opened(line: Line) -> AsyncIterator[OpenAIChatModel]:
    """Lend the model, and close its connections afterwards."""
    provider = line.provider
    async with AsyncOpenAI(
        api_key=line.key or NO_KEY, base_url=provider.address, max_retries=0, timeout=line.parameters.timeout
    ) as client:
        if provider.type == "deepseek":
            yield OpenAIChatModel(line.model, provider=DeepSeekProvider(openai_client=client))
        elif provider.type == "openai":
            yield OpenAIChatModel(line.model, provider=OpenAIProvider(openai_client=client))
        else:
            # Other servers know the older name of the limit.
            profile = OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False)
            yield OpenAIChatModel(line.model, provider=OpenAIProvider(openai_client=client), profile=profile)


def settings(how: Parameters) -> ModelSettings:
    """Return the parameters as pydantic-ai has them."""
    found = ModelSettings(max_tokens=how.max_tokens, temperature=how.temperature, timeout=how.timeout)
    if how.top_p is not None:
        found["top_p"] = how.top_p
    if how.frequency_penalty is not None:
        found["frequency_penalty"] = how.frequency_penalty
    if how.presence_penalty is not None:
        found["presence_penalty"] = how.presence_penalty
    if how.seed is not None:
        found["seed"] = how.seed
    if how.stop:
        found["stop_sequences"] = list(how.stop)
    return found


def output_type(schema: dict[str, Any] | None) -> Any:
    """Return the type of an answer by a JSON *schema*; text without one. Raises InvalidPayload for a bad schema."""
    if schema is None:
        return str
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise InvalidPayload(f"outputSchema is no JSON schema: {error.message}") from None
    if schema.get("type") != "object":
        raise InvalidPayload('outputSchema must be of type object: {"type": "object", "properties": {...}}')
    return StructuredDict(schema, name="answer")


def checking(schema: dict[str, Any]) -> Callable[[Any], Any]:
    """Return a check that sends an answer which does not fit *schema* back to the model."""
    validator = Draft202012Validator(schema)

    def check(output: Any) -> Any:
        found = best_match(validator.iter_errors(output))
        if found is not None:
            raise ModelRetry(f"{found.json_path}: {found.message}")
        return output

    return check


def tool(function: Callable[..., Any]) -> Tool[Any]:
    """Return *function* as a tool; its docstring is what the model reads of it."""
    return Tool(function, name=function.__name__, description=inspect.getdoc(function))
