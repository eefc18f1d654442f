"""The protocol's form: replies as the documents and the events that clients expect. Pure.

Source of the form: the OpenAI API reference, chat completions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from workerpool.rehearsal.script import Asked, Reply

#: When every answer was made; a client has no use for the time.
CREATED = 1_700_000_000


def error(reply: Reply) -> bytes:
    """Return an error's document."""
    told = {"message": f"status {reply.status}", "type": "error", "param": None, "code": None} | dict(reply.error or {})
    return _json({"error": told})


def models(names: list[str]) -> bytes:
    """Return the list of models."""
    listed = [{"id": name, "object": "model", "created": CREATED, "owned_by": "rehearsal"} for name in names]
    return _json({"object": "list", "data": listed})


def whole(asked: Asked, reply: Reply) -> bytes:
    """Return an answer in one document."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.pieces) or None}
    if reply.tool_calls:
        message["tool_calls"] = [_call(asked, place, each) for place, each in enumerate(reply.tool_calls)]
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply), "logprobs": None}
    document = {"id": f"chatcmpl-{asked.number}", "object": "chat.completion", "created": CREATED}
    return _json(document | {"model": asked.model, "choices": [choice], "usage": usage(asked, reply)})


def begin(asked: Asked) -> str:
    """Return the first event of a stream."""
    return _event(asked, {"role": "assistant", "content": ""})


def pieces(asked: Asked, reply: Reply) -> Iterator[str]:
    """Yield the events that carry the answer: a text by words, a tool's arguments in two halves."""
    for text in reply.pieces:
        yield _event(asked, {"content": text})
    for place, each in enumerate(reply.tool_calls):
        arguments = each["arguments"]
        half = len(arguments) // 2
        started = _call(asked, place, {"name": each["name"], "arguments": ""})
        yield _event(asked, {"tool_calls": [{"index": place} | started]})
        for part in (arguments[:half], arguments[half:]):
            yield _event(asked, {"tool_calls": [{"index": place, "function": {"arguments": part}}]})


def end(asked: Asked, reply: Reply) -> str:
    """Return the last events of a stream: why it ended, and the tokens where they were asked for."""
    told = _event(asked, {}, _finish(reply))
    if asked.wants_usage:
        told += _sent(_chunk(asked) | {"choices": [], "usage": usage(asked, reply)})
    return told + "data: [DONE]\n\n"


def usage(asked: Asked, reply: Reply) -> dict[str, int]:
    """Return the tokens of an answer: as the reply says, else a word is one."""
    prompt, answer = reply.usage or (
        sum(len(str(each.get("content") or "").split()) for each in asked.messages),
        len(reply.pieces) + sum(len(each["arguments"].split()) for each in reply.tool_calls),
    )
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.tool_calls and reply.finish_reason == "stop" else reply.finish_reason


def _call(asked: Asked, place: int, call: Any) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["arguments"]}
    return {"id": f"call_{asked.number}_{place}", "type": "function", "function": function}


def _chunk(asked: Asked) -> dict[str, Any]:
    known = {"id": f"chatcmpl-{asked.number}", "object": "chat.completion.chunk", "created": CREATED}
    return known | {"model": asked.model}


def _event(asked: Asked, delta: dict[str, Any], finish: str | None = None) -> str:
    return _sent(_chunk(asked) | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _sent(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
