"""What a provider's failure means for the revision: tried again, or not, and in which words.

Owns: the table. Pure but for the names of errors. Invariant: whatever a provider answers, the key is not in what comes
out of here.
"""

from __future__ import annotations

import json

import httpx2
from openai import APIError
from pydantic import ValidationError
from pydantic_ai import exceptions

from workerpool.agents.keys import scrubbed
from workerpool.agents.model import Line
from workerpool.agents.patience import BUSY, MOST
from workerpool.core.agent import AgentBrief
from workerpool.core.errors import Cancelled, Fail, InvalidPayload, Retry, Snooze
from workerpool.core.wording import shorten

#: Characters of a provider's own words that a message holds.
WORDS = 600


def meant(error: Exception, brief: AgentBrief, line: Line) -> Exception:
    """Return what *error* means: Fail (another attempt would not help), Retry, or *error* itself.

    An error of a tool stays what it is: the revision is tried again as after any error of a handler.
    """
    if isinstance(error, (Fail, Cancelled, Retry, Snooze)):
        return error
    who = f"the provider {line.provider.name!r}"
    said = scrubbed(shorten(_words(error), WORDS), line.key)
    match error:
        case exceptions.ModelAPIError():
            return _of_api(error, brief, line, who, said)
        case exceptions.UsageLimitExceeded():
            return Fail(f"the agent {brief.name!r} asked its model too often: {said}")
        case exceptions.ContentFilterError():
            return Fail(f"{who} refused to answer (its content filter): {said}")
        case exceptions.OutputTokenLimitExceeded():
            return cut_off(brief, line)
        case exceptions.UnexpectedModelBehavior():
            return Fail(f"the model {line.model!r} did not answer as it was asked to: {said}")
        case exceptions.UserError():
            return InvalidPayload(f"the agent {brief.name!r} cannot be asked this: {said}")
        case httpx2.TransportError() | APIError():
            return _of_wire(error, line, who, said)
        case json.JSONDecodeError() | UnicodeDecodeError() | ValidationError():
            return _no_protocol(line, who, said)
        case _ if line.key and line.key in str(error):
            return Retry(reason=f"{type(error).__name__}: {said}")
        case _:
            return error


def _of_api(error: exceptions.ModelAPIError, brief: AgentBrief, line: Line, who: str, said: str) -> Exception:
    status = f" ({error.status_code})" if isinstance(error, exceptions.ModelHTTPError) else ""
    edit = f"`workerpool agents edit {brief.name} --model NAME`"
    match error:
        case exceptions.ModelTimeoutError() | exceptions.ModelRequestTimeout():
            return Retry(reason=f"{who} said nothing for {line.parameters.timeout:g} s")
        case exceptions.ModelConnectionError():
            return Retry(reason=f"the connection to {who} at {line.provider.address} was lost, or never made: {said}")
        case exceptions.ModelAuthenticationError():
            held = line.provider.variable or line.provider.key_file
            mend = f"correct the key in {held}" if held else "it wants a key: give it --key-variable or --key-file"
            return Fail(f"{who} refused the key{status}: {said}; {mend}")
        case exceptions.ModelNotFoundError():
            return Fail(f"{who} has no model {line.model!r}, or its base URL is wrong{status}: {said}; {edit}")
        case exceptions.ModelQuotaExceededError():
            return Fail(f"the account at {who} is used up{status}: {said}")
        case exceptions.ModelContextWindowExceededError():
            return Fail(f"there is more to read than the model {line.model!r} can{status}: {said}")
        case _ if isinstance(error, BUSY):
            after = error.retry_after if error.retry_after is not None and error.retry_after > MOST else None
            return Retry(after, reason=f"{who} was too busy, or failed{status}: {said}")
        case exceptions.ModelRequestRejectedError():
            return Fail(f"{who} refused the request{status}: {said}")
        case _ if _is_no_json(error):
            return _no_protocol(line, who, said)
        case _:
            return Retry(reason=f"asking {who} failed{status}: {said}")


def _of_wire(error: Exception, line: Line, who: str, said: str) -> Exception:
    if _is_no_json(error):
        return _no_protocol(line, who, said)
    if isinstance(error, httpx2.TimeoutException):
        return Retry(reason=f"{who} said nothing for {line.parameters.timeout:g} s")
    return Retry(reason=f"the connection to {who} at {line.provider.address} was lost: {said or type(error).__name__}")


def _no_protocol(line: Line, who: str, said: str) -> Fail:
    return Fail(
        f"what {who} at {line.provider.address} sent is not the OpenAI chat completions protocol ({said}); "
        f"correct its base URL: `workerpool providers edit {line.provider.name} --base-url URL`"
    )


def cut_off(brief: AgentBrief, line: Line) -> Fail:
    """Return the failure of an answer that was ended by its limit: half an answer is none."""
    limit = line.parameters.max_tokens
    return Fail(
        f"the answer was cut off at maxTokens ({limit}), and half an answer is none: "
        f"`workerpool agents edit {brief.name} --max-tokens {limit * 2}`"
    )


def _is_no_json(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | ValidationError):
            return True
        error = error.__cause__
    return False


def _words(error: Exception) -> str:
    """Return a provider's own words, out of the wrapping."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        inner = body.get("error", body)
        told = inner.get("message") if isinstance(inner, dict) else inner
        if isinstance(told, str) and told.strip():
            return told.strip()
    if isinstance(error, exceptions.UnexpectedModelBehavior):
        return error.message  # (its text has the whole answer after it)
    cause = error.__cause__
    text = str(error).strip()
    return f"{text} ({cause})" if cause is not None and str(cause) and str(cause) not in text else text
