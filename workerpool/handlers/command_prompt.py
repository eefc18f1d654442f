"""The words for a command that reads a prompt, as the command lines of language models do.

Owns: the prompt of a payload, and an item's content as text. Pure. Invariant: what the prompt says of the content is
where it is, never the content itself: that is material in a file, and not an instruction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from workerpool.core.errors import InvalidPayload

#: What makes a prompt, each a paragraph.
TEXTS = ("prompt", "title", "description", "instructions")


def prompt_of(payload: Mapping[str, Any], content_file: str | None) -> str:
    """Return the prompt that *payload* means: its ``prompt``, else title, description and instructions; then its input.

    *content_file*: where the current content is, None where there is none. Raises InvalidPayload with a sentence.
    """
    parts = []
    for key in TEXTS:
        text = payload.get(key)
        if text is not None and not isinstance(text, str):
            raise InvalidPayload(f"the payload's {key} is a {type(text).__name__}; a text is wanted")
        if text and text.strip():
            parts.append(text.strip())
    given = payload.get("input")
    if given not in (None, "", {}, []):
        parts.append(given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, indent=1))
    if not parts:
        raise InvalidPayload(f"the payload has no prompt: one of {', '.join(TEXTS)} or input is wanted")
    if content_file is not None:
        parts.append(f"The current content is in the file {content_file}.")
    return "\n\n".join(parts) + "\n"


def content_text(base: Any) -> str:
    """Return an item's content as text: a result's ``output`` where it is a text, a text as it is, else JSON."""
    content = base["output"] if isinstance(base, dict) and "output" in base else base
    if isinstance(content, str):
        return content
    return "" if content is None else json.dumps(content, ensure_ascii=False, indent=1)
