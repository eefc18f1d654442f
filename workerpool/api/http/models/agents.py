"""Providers and agents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from workerpool.api.http.models.base import Model, Shown, as_number

Type = Literal["openai", "deepseek", "openai-compatible"]
#: Of something new: no control character, no blank at either end. (The service refuses what is not seen, too.)
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x20\x7f-\xa0]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0])?$",
    ),
]
#: Of something that may be there.
Known = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Url = Annotated[str, Field(max_length=1_000, pattern=r"^https?://[^\s/]+(/\S*)?$")]
Variable = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
File = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]+$")]
ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Text = Annotated[str, Field(max_length=100_000, pattern=r"^[^\x00]*$")]
Role = Annotated[str, Field(min_length=1, max_length=100_000, pattern=r"^[^\x00]*\S[^\x00]*$")]
Tool = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Tools = Annotated[list[Tool], Field(max_length=100)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False), BeforeValidator(as_number)]
Stop = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]+$")]


class Parameters(Model):
    """How a model is asked, as the OpenAI protocol means it; what is left out or null is as usual."""

    temperature: Annotated[float, Field(ge=0, le=2), BeforeValidator(as_number)] | None = Field(
        None, description="0.7 unless set."
    )
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000), BeforeValidator(as_number)] | None = Field(
        None, description="Of one answer; 2000 unless set."
    )
    top_p: Annotated[float, Field(ge=0, le=1), BeforeValidator(as_number)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**53), le=2**53), BeforeValidator(as_number)] | None = None
    stop: Annotated[list[Stop], Field(max_length=4)] | None = None
    timeout: Annotated[float, Field(ge=1, le=86_400), BeforeValidator(as_number)] | None = Field(
        None, description="The seconds that one request may be silent; 120 unless set."
    )

    def given(self) -> dict[str, Any]:
        """Return those that were given, by the names that the table has."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class ProviderIn(Model):
    """A provider to be kept; its key stays where the workers are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "openai", "type": "openai", "defaultModel": "gpt-5-mini"}]}
    )
    name: Name
    type: Type
    base_url: Url | None = None
    default_model: ModelName | None = None
    key_variable: Variable | None = None
    key_file: File | None = None


class ProviderChange(Model):
    """What is changed of a provider; null takes something away, but not its type."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"defaultModel": "gpt-5"}]})
    type: Type | SkipJsonSchema[None] = None
    base_url: Url | None = None
    default_model: ModelName | None = None
    key_variable: Variable | None = None
    key_file: File | None = None


class Provider(Shown):
    """A provider, with the number of agents that it serves."""

    name: str
    type: str
    base_url: str | None = None
    default_model: str | None = None
    key_variable: str | None = None
    key_file: str | None = None
    agents: int
    created_at: datetime


class Providers(Shown):
    """All providers."""

    providers: list[Provider]


class AgentIn(Model):
    """An agent to be kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "editor",
                    "role": "an editor of web pages",
                    "instructions": "Answer with the whole page.",
                    "provider": "openai",
                    "modelParameters": {"temperature": 0.2},
                }
            ]
        }
    )
    name: Name
    role: Role
    backstory: Text = ""
    instructions: Text = ""
    provider: Known | None = None
    model: ModelName | None = None
    model_parameters: Parameters = Field(default_factory=Parameters)
    tools: Tools = Field(default_factory=list)


class AgentChange(Model):
    """What is changed of an agent; null takes something away, but not its role.

    Of the parameters those that are not named stay.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"modelParameters": {"maxTokens": 4000}}]})
    role: Role | SkipJsonSchema[None] = None
    backstory: Text | None = None
    instructions: Text | None = None
    provider: Known | None = None
    model: ModelName | None = None
    model_parameters: Parameters | None = None
    tools: Tools | None = None


class Agent(Shown):
    """An agent."""

    name: str
    role: str
    backstory: str
    instructions: str
    provider: str | None = None
    model: str | None = None
    model_parameters: dict[str, Any]
    tools: list[str]
    created_at: datetime


class Agents(Shown):
    """All agents."""

    agents: list[Agent]
