"""Who is woken, and when: what is overdue is not asked for in a frenzy, and not forgotten either."""

import os

import pytest

from workerpool.keeper import waker as module
from workerpool.keeper.flock import Flock, Sheep
from workerpool.keeper.waker import OVERDUE_AT_MOST, Waker
from workerpool.link.board import Board, Record


def test_looks_do_not_put_off_the_waking_for_what_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: a look a second, each a moment before the waking, and somebody is woken all the same."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    board, bell = Board.create(), os.eventfd(0, os.EFD_NONBLOCK)
    flock = Flock()
    flock.living["w"] = Sheep("w", 1, 1, 0, ("default",))
    Record(board, 1).state("idle")
    waker, wakings = Waker((bell, bell), board, flock), []
    try:
        look = now[0]
        while now[0] < 120.0:
            if now[0] >= waker.due_at:
                waker.due_at = float("inf")
                wakings.append(now[0])
                look = min(look, now[0] + module.HEAD_START)  # as the keeper does
            if now[0] >= look:
                look = now[0] + 1.0
                now[0] += 0.003  # the look itself
                waker.serve(0, -1.0)
            now[0] = min(waker.due_at, look) + 0.0005
        assert len(wakings) > 15
        later = [at for at in wakings if at > 110.0]
        assert len(later) <= 11 / OVERDUE_AT_MOST
    finally:
        os.close(bell)
        os.close(board.descriptor)
