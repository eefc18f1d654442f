"""What the agent is told about an edit, and how a page is found in its answer.

Owns: the words. Pure. Does not own: who the agent is (a row of the pool's table `agents`: `run.sh` adds it), nor
whether the answer is good (`page_checks`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: The agent's name in the pool.
AGENT = "page-editor"
RULES = """\
Answer with the whole page, from <!DOCTYPE html> to </html>, and nothing else: no explanation, no code fence.
Change what is asked for and leave everything else letter by letter as it is.
Keep every script, every form with its action, every link and the viewport. Add no script that is loaded from anywhere:
what a page needs is written into it. Close every element."""
AGAIN = """\
Your last answer to this request was refused. It is the input, with what was found in it:
{findings}
Make the edit again, from the current content, so that nothing of this can be said of it."""
_FENCE = re.compile(r"```[A-Za-z]*[ \t]*\n(?P<page>.*?)\n?```", re.DOTALL)


def goal(page: str, request: str) -> str:
    """Return what the agent is to reach: the *request* of a person, for the page of that name."""
    return f"Edit the web page {page!r} as its reader asks: {request}"


def again(findings: Sequence[str]) -> str:
    """Return what the agent is told when its answer was refused."""
    return AGAIN.format(findings="\n".join(f"- {finding}" for finding in findings)) + "\n" + RULES


def page_in(answer: str) -> str:
    """Return the page of an answer: models like to put one into a code fence whatever they are told."""
    fenced = _FENCE.fullmatch(answer.strip())
    return (fenced["page"] if fenced else answer).strip() + "\n"
