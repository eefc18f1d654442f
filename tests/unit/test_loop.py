"""The worker's loop over a database that loses answers: nothing that was done or claimed is forgotten."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from workerpool.core.briefs import WorkerBrief
from workerpool.core.outcome import Outcome
from workerpool.handlers.registry import HandlerSpec
from workerpool.job.job import Job
from workerpool.link.board import Board, Record
from workerpool.store.effects import Effects
from workerpool.store.line import Answer, Line, LineLost, Order
from workerpool.worker.desk import WorkerDesk
from workerpool.worker.hand import Hand
from workerpool.worker.loop import Loop
from workerpool.worker.perform import Performer

BRIEF = WorkerBrief(
    "",
    "workerpool",
    "m",
    "h",
    "W1",
    1,
    1,
    0,
    0,
    ("it",),
    None,
    None,
    1.0,
    60.0,
    60.0,
    1.0,
    3,
    None,
    None,
    "continue",
    "",
    "",
    "",
    None,
)


class Memory:
    """A database of four revisions, and the line to it; the answer to its third turn is lost."""

    def __init__(self) -> None:
        self.rows = dict.fromkeys(range(1, 5), "pending")
        self.tokens: dict[int, Any] = {}
        self.turns = 0
        self.refused = None
        self._answer: Answer | None = None

    def submit(self, outcomes: Sequence[Outcome], order: Order, told: Sequence[Any] = ()) -> None:
        self.turns += 1
        settled = self.settle(outcomes)
        claimed = [number for number, status in self.rows.items() if status == "pending"][: min(order.how_many, 2)]
        for number in claimed:
            self.rows[number], self.tokens[number] = "processing", order.token
        rows = tuple((number, "item", "it", "{}", 1, None, 0, None, 1, None) for number in claimed)
        self._answer = Answer(settled, rows, "claimed" if rows else "empty")

    def collect(self) -> Answer:
        if self.turns == 3:
            raise LineLost(ConnectionError("cut"))
        assert self._answer is not None
        return self._answer

    def settle(self, outcomes: Sequence[Outcome]) -> frozenset[int]:
        written = {each.revision_id for each in outcomes if self.tokens.get(each.revision_id) == each.token}
        for each in outcomes:
            if each.revision_id in written:
                self.rows[each.revision_id] = "pending" if each.verdict == "released" else each.verdict
        return frozenset(written)

    def call(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        if name == "outcome_of":
            return [(number, self.tokens[number], self.rows[number]) for number in parameters["ids"]]
        if name == "held_by":
            return [(number, self.tokens[number]) for number, status in self.rows.items() if status == "processing"]
        if name == "still_held":
            return [(parameters["ids"][0],)]
        return []

    def open(self) -> None:
        pass

    forget = open


def test_an_answer_that_the_attendant_lost_is_looked_for_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is under way, its handler takes long, the attendant asks for the answer and the connection is gone: the
    loop finds out what was written, gives back what was claimed unseen, and every revision runs once.
    """
    memory, hand, ran = Memory(), Hand(), []

    def it(job: Job) -> None:
        ran.append(job.id)
        if memory.turns == 3:
            with contextlib.suppress(LineLost):  # as the attendant does, on its own thread
                loop.clear_desk()
        loop.stopping = len(ran) == 4

    line = cast("Line", memory)
    desk = WorkerDesk(line, 1.0, Effects("", "workerpool", "w"), Path())
    footing = type("Still", (), {"restore": lambda self: False})()
    performer = Performer({"it": HandlerSpec("it", it)}, desk, 3, footing)
    loop = Loop(BRIEF, line, hand, desk, performer, Record(Board.create(), 0), ("it",), lambda: None, lambda: None)
    monkeypatch.setattr("workerpool.worker.presence.await_bell", lambda *_: pytest.fail("nothing left to do"))
    loop.run()
    assert sorted(ran) == [1, 2, 3, 4]
    assert set(memory.rows.values()) == {"completed"}
    assert hand.is_empty
