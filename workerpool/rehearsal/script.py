"""What is answered to whom: replies, and rules that choose one.

Owns: the forms of a reply and of a request, and the reading of rules. Does not own: the protocol (``wire``).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; delays are seconds.

    *text* comes word by word, or as *chunks* say; *tool_calls* are ``{"name", "arguments"}``, arguments as JSON text.
    *status* other than 200: *error* (message, type, code) with *headers*. *cut_after*: the connection breaks after so
    many chunks. *raw*: lines that are sent instead of all that. *usage*: tokens of the prompt and of the answer, None
    to count words.
    """

    text: str | None = None
    tool_calls: Sequence[Mapping[str, str]] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    delay: float = 0.0
    chunk_delay: float = 0.0
    chunks: Sequence[str] | None = None
    cut_after: int | None = None
    raw: Sequence[str] | None = None
    finish_reason: str = "stop"
    usage: tuple[int, int] | None = None

    @property
    def pieces(self) -> list[str]:
        """Return the text in the pieces that it comes in."""
        return list(self.chunks) if self.chunks is not None else re.findall(r"\s*\S+\s*", self.text or "")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its body, its number (1, 2, 3 …) and its headers, by names in small letters."""

    body: Mapping[str, Any]
    number: int
    headers: Mapping[str, str]

    @property
    def model(self) -> str:
        """Return the model that was named."""
        return str(self.body.get("model", ""))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the conversation."""
        return list(self.body.get("messages", []))

    @property
    def system(self) -> str:
        """Return what the model is told of itself."""
        return "\n".join(_text(each) for each in self.messages if each.get("role") in ("system", "developer"))

    @property
    def last_user(self) -> str:
        """Return what was said last by who asks; empty where nothing was."""
        said = [_text(each) for each in self.messages if each.get("role") == "user"]
        return said[-1] if said else ""

    @property
    def stream(self) -> bool:
        """Tell whether the answer is wanted as it comes."""
        return bool(self.body.get("stream"))

    @property
    def wants_usage(self) -> bool:
        """Tell whether a stream is to end with the tokens."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Return the tools that the model may call."""
        return list(self.body.get("tools") or [])


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


Script = Callable[[Asked], Reply]


class BadRules(ValueError):
    """A file of rules cannot be used."""

    def __init__(self, where: str, problem: str, allowed: str) -> None:
        self.where, self.problem, self.allowed = where, problem, allowed
        super().__init__(f"{where}: {problem}; allowed: {allowed}")


@dataclass(slots=True)
class _Rule:
    agent: re.Pattern[str]
    when: re.Pattern[str]
    times: int | None
    reply: Reply


_KEYS = ("agent", "when", "times", "reply")
_FIELDS = tuple(each.name for each in fields(Reply))
#: What a field of a reply is in JSON, in words and in types.
_FORMS: dict[str, tuple[str, tuple[type, ...]]] = {
    "text": ("a text", (str,)),
    "tool_calls": ("a list of {name, arguments}", (list,)),
    "status": ("a number such as 429", (int,)),
    "headers": ("an object of texts", (dict,)),
    "error": ("an object with message, type, code", (dict,)),
    "delay": ("seconds", (int, float)),
    "chunk_delay": ("seconds", (int, float)),
    "chunks": ("a list of texts", (list,)),
    "cut_after": ("a number of chunks", (int,)),
    "raw": ("a list of lines", (list,)),
    "finish_reason": ("a text", (str,)),
    "usage": ("a list of two numbers", (list,)),
}


def rules(source: str | Path | Sequence[Mapping[str, Any]]) -> Script:
    """Return the script that a list of rules, or a JSON file of one, says.

    A rule is ``{"agent": REGEX of the system's text, "when": REGEX of what was said last, "times": N, "reply": {}}``;
    all but the reply may be left out. The first rule that matches and is not used up answers. Raises BadRules, OSError.
    """
    known = _read(source)
    lock = threading.Lock()

    def script(asked: Asked) -> Reply:
        with lock:
            for rule in known:
                if rule.times == 0 or not rule.agent.search(asked.system) or not rule.when.search(asked.last_user):
                    continue
                rule.times = None if rule.times is None else rule.times - 1
                return rule.reply
        return Reply(status=404, error={"message": "no rule answers this", "type": "invalid_request_error"})

    return script


def _read(source: str | Path | Sequence[Mapping[str, Any]]) -> list[_Rule]:
    where = "rules"
    if isinstance(source, (str, Path)):
        where = str(source)
        try:
            source = json.loads(Path(source).read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadRules(where, f"it is not JSON ({error})", "a list of rules") from None
    if not isinstance(source, Sequence) or isinstance(source, str):
        raise BadRules(where, "it is not a list", "a list of rules")
    return [_rule(f"{where}, rule {place}", each) for place, each in enumerate(source, 1)]


def _rule(where: str, given: object) -> _Rule:
    if not isinstance(given, Mapping) or not isinstance(given.get("reply"), Mapping):
        raise BadRules(where, "it has no reply", '{"agent": REGEX, "when": REGEX, "times": N, "reply": {...}}')
    for key in given:
        if key not in _KEYS:
            raise BadRules(where, f"key {key!r} is not known", ", ".join(_KEYS))
    times = given.get("times")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise BadRules(f"{where} times", f"{times!r}", "a whole number from 1")
    return _Rule(_pattern(where, "agent", given), _pattern(where, "when", given), times, _reply(where, given["reply"]))


def _pattern(where: str, key: str, given: Mapping[str, Any]) -> re.Pattern[str]:
    try:
        return re.compile(given.get(key, ""))
    except (re.error, TypeError) as error:
        raise BadRules(f"{where} {key}", f"{given[key]!r} ({error})", "a regular expression") from None


def _reply(where: str, given: Mapping[str, Any]) -> Reply:
    for key, value in given.items():
        if key not in _FIELDS:
            raise BadRules(f"{where} reply", f"key {key!r} is not known", ", ".join(_FIELDS))
        form, types = _FORMS[key]
        if isinstance(value, bool) or not isinstance(value, types):
            raise BadRules(f"{where} reply {key}", f"{value!r}", form)
    return Reply(**{**given, **({"usage": tuple(given["usage"])} if "usage" in given else {})})
