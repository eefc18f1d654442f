"""Who plays in ``workerpool demo --agents``: three agents, what they are asked, and what they answer without a key.

Owns: the words. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Seconds between two words of a scripted answer: slow enough to be watched.
PACE = 0.04


@dataclass(frozen=True, slots=True)
class Part:
    """One task: of which item, for whom, what is asked, and what is answered where no model is."""

    item: str
    agent: str
    title: str
    instructions: str
    answer: str
    input: Any = None


@dataclass(frozen=True, slots=True)
class Player:
    """An agent of the demo."""

    name: str
    role: str
    backstory: str
    instructions: str
    parameters: dict[str, Any] = field(default_factory=dict)


PLAYERS = (
    Player("Copywriter", "a copywriter of small shops", "You have sold bread yourself.", "Write plainly and warmly."),
    Player("Translator", "a translator into French", "You grew up between two languages.", "Keep tone and length.",
           {"temperature": 0.2}),
    Player("Reviewer", "a reviewer of web pages", "You read as a hurried customer does.", "Name what is missing."),
)  # fmt: skip

NOTICE = "We are closed on Monday. Our sourdough is back on Tuesday at seven, still warm."
PAGE = "<h1>Bakery</h1><p>Fresh bread every day.</p><p>Come and see us!</p>"
PARTS = (
    Part("pages/welcome", "Copywriter", "A welcome", "Write a welcome of three sentences for the web page of a bakery.",
         "Good morning, and come in out of the cold. Our ovens have been hot since four, and the first loaves are "
         "cooling by the window. Take one home while it still sings when you break the crust."),
    Part("pages/notice", "Translator", "A notice in French", "Translate the notice.",
         "Nous sommes fermés le lundi. Notre pain au levain est de retour mardi à sept heures, encore chaud, et nous "
         "serons heureux de vous revoir.", NOTICE),
    Part("pages/home", "Reviewer", "A review", "Say in three lines what a customer cannot find on this page.",
         "1. When you are open, and on which days you are not.\n2. Where you are: no street, no map, no telephone.\n"
         "3. What you bake and what it costs; one picture would say more than the second paragraph.", PAGE),
    Part("pages/welcome", "Copywriter", "Shorter", "Make the welcome one sentence.",
         "Come in: the ovens have been hot since four, and the first loaves are cooling by the window."),
)  # fmt: skip


def rules() -> list[dict[str, Any]]:
    """Return what the scripted model answers, as rules of ``workerpool.rehearsal``."""
    return [
        {
            "agent": f"^You are: {part.agent}\n",
            "when": part.instructions.replace(".", r"\."),
            "reply": {"text": part.answer, "chunk_delay": PACE, "delay": 10 * PACE},
        }
        for part in PARTS
    ]
