"""An agent: a language model with a role, and where its model is reached.

Owns: what an agent and a provider are, their defaults, and what is wrong with them. Does not own: where they are kept
(``store``), nor asking (``agents``). Invariant: a key is never here, only the name of what holds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The types that are understood: the address of each, None where the provider must say it.
ADDRESSES: dict[str, str | None] = {
    "openai": "https://api.openai.com/v1",
    "deepseek": "https://api.deepseek.com",
    "openai-compatible": None,
}
SUPPORTED = tuple(ADDRESSES)
#: The variable that holds the key where the provider names none. A server of one's own may want none.
USUAL_KEYS = {"openai": "OPENAI_API_KEY", "deepseek": "DEEPSEEK_API_KEY"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What is no provider's business: a provider is a row, and who may write one says where its key is sent.
_OURS = re.compile(r"WORKERPOOL_|PGPASSWORD$", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s/]+(/\S*)?")


@dataclass(frozen=True, slots=True)
class Provider:
    """Where models are reached. *key_variable* and *key_file* name what holds the key, on the workers' hosts."""

    name: str
    type: str
    base_url: str | None = None
    default_model: str | None = None
    key_variable: str | None = None
    key_file: str | None = None

    @property
    def address(self) -> str | None:
        """Return the address that is used, or None where it is not known."""
        return self.base_url or ADDRESSES.get(self.type)

    @property
    def variable(self) -> str | None:
        """Return the environment variable that the key is looked for in, or None where a file holds it, or nothing."""
        return self.key_variable or (None if self.key_file else USUAL_KEYS.get(self.type))


@dataclass(frozen=True, slots=True)
class Parameters:
    """How a model is asked: as the OpenAI protocol means them; None: the provider's own.

    *timeout*: the seconds that one request may be silent.
    """

    temperature: float = 0.7
    max_tokens: int = 2000
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What asking took; *seconds* of executing, from the first step to the last."""

    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.requests + other.requests,
            self.seconds + other.seconds,
        )

    @property
    def tokens(self) -> int:
        """Return the tokens in both directions."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class AgentBrief:
    """An agent as its handler gets it: its provider (None: it names none), and what earlier attempts spent."""

    name: str
    role: str
    backstory: str
    instructions: str
    provider: Provider | None
    model: str | None
    model_parameters: Mapping[str, Any]
    tools: tuple[str, ...] = ()
    spent: Spent = Spent()

    @property
    def model_used(self) -> str | None:
        """Return the model that is asked: its own, else the provider's default."""
        return self.model or (self.provider.default_model if self.provider else None)


#: Name in the table -> field, what is allowed in words, the least and the most (None: no bound).
_NUMBERS: dict[str, tuple[str, str, float | None, float | None]] = {
    "temperature": ("temperature", "a number from 0 to 2", 0, 2),
    "maxTokens": ("max_tokens", "a whole number from 1 to 10000000", 1, 10_000_000),
    "topP": ("top_p", "a number from 0 to 1", 0, 1),
    "frequencyPenalty": ("frequency_penalty", "a number from -2 to 2", -2, 2),
    "presencePenalty": ("presence_penalty", "a number from -2 to 2", -2, 2),
    "seed": ("seed", "a whole number", None, None),
    "timeout": ("timeout", "seconds from 1 to 86400", 1, 86_400),
}
_WHOLE = ("maxTokens", "seed")
#: Other spellings that people use.
_SPELLINGS = {
    "max_tokens": "maxTokens",
    "top_p": "topP",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
PARAMETERS = (*_NUMBERS, "stop")


def parameters(given: Mapping[str, Any]) -> Parameters:
    """Return the parameters that *given* (as the table has them) means, with the defaults for what it leaves out.

    Raises ValueError with a sentence that names the parameter, its value, and what is allowed.
    """
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = _SPELLINGS.get(key, key)
        if value is None:
            continue
        if name == "stop":
            found["stop"] = _stop(value)
        elif name in _NUMBERS:
            found[_NUMBERS[name][0]] = _number(name, value)
        else:
            raise ValueError(f"there is no model parameter {key!r}; allowed: {', '.join(PARAMETERS)}")
    return Parameters(**found)


def _number(name: str, value: object) -> float | int:
    _, allowed, least, most = _NUMBERS[name]
    good = isinstance(value, int) if name in _WHOLE else isinstance(value, (int, float))
    if isinstance(value, bool) or not good:
        raise ValueError(f"the model parameter {name} is {value!r}; allowed: {allowed}")
    assert isinstance(value, (int, float))
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        raise ValueError(f"the model parameter {name} is {value!r}; allowed: {allowed}")
    return value


def _stop(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(each, str) and each for each in texts):
        raise ValueError(f"the model parameter stop is {value!r}; allowed: a text, or a list of texts")
    if len(texts) > 4:
        raise ValueError(f"the model parameter stop has {len(texts)} texts; allowed: at most 4")
    return tuple(texts)


def wrong_with(provider: Provider) -> str | None:
    """Return what keeps *provider* from being used, as a sentence without its name, or None."""
    allowed = ", ".join(SUPPORTED)
    if provider.type not in ADDRESSES:
        return f"its type is {provider.type!r}, which is not supported; allowed: {allowed}"
    if provider.address is None:
        return f"a provider of type {provider.type} needs a base URL, such as http://127.0.0.1:11434/v1"
    if not _ADDRESS.fullmatch(provider.address):
        return f"its base URL is {provider.address!r}; allowed: http:// or https://, a host, and a path"
    if provider.key_variable is not None and provider.key_file is not None:
        return "it names both a variable and a file for the key; one of them is allowed"
    if provider.key_variable is not None and not _VARIABLE.fullmatch(provider.key_variable):
        # (what was given is not repeated: it may be the key itself)
        return "the key's variable is named by letters, digits and underscores; the key itself is never kept here"
    if provider.key_variable is not None and _OURS.match(provider.key_variable):
        return f"its key would be {provider.key_variable}, which is this program's own and is sent to nobody"
    return None
