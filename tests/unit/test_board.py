"""The shared memory: what runs in each slot can be read by another process at any moment, also after a kill."""

import mmap
import os
import time
from uuid import uuid4

import pytest

from workerpool.core.revision import Claim
from workerpool.link.board import RECORD, SLOTS, STATES, Board, Record, Running
from workerpool.worker.attempt import Attempt


@pytest.fixture
def board() -> Board:
    """A board of this test's own."""
    return Board.create()


def test_what_was_begun_is_seen_by_others_until_it_ends(board: Board) -> None:
    """Another mapping of the same memory sees the attempt with its token and limits, and only in its slot."""
    other, token = Board(os.dup(board.descriptor)), uuid4()
    record = Record(board, 3)
    record.begin(7, token.bytes, 1.5, 9.5, 2, 3, 1 << 40, 5)
    running = other.running(3)
    assert running is not None
    assert (running.revision_id, running.token, running.claimed, running.deadline) == (7, token, 1.5, 9.5)
    assert (running.attempt, running.max_attempts) == (2, 3)
    assert (running.memory_limit, running.output_limit) == (1 << 40, 5)
    assert other.running(2) is None
    assert other.running(4) is None
    record.end(completed=True)
    assert other.running(3) is None
    assert other.counts(3) == (1, "starting")


def test_a_record_that_was_being_changed_is_no_answer(board: Board) -> None:
    """A process killed in the middle of a change leaves a record that says nothing rather than a mixture."""
    record = Record(board, 0)
    record.begin(7, uuid4().bytes, 1.0, 2.0, 1, 3)
    with mmap.mmap(board.descriptor, SLOTS * RECORD) as memory:
        memory[0] += 1
    assert board.running(0) is None


def test_states_counts_renewals_and_cancels_do_not_mix(board: Board) -> None:
    """Each field of a record is its own, in the last slot too; clearing forgets all of it and nothing else."""
    last = SLOTS - 1
    record = Record(board, last)
    for state in STATES:
        record.state(state)
        assert board.counts(last) == (0, state)
    board.mark_renewed(last, 12.5)
    attempt = Running(99, uuid4(), 0.0, 0.0, 1, 3)
    assert board.ask_cancel(last, attempt, 4.0)
    assert not board.ask_cancel(last, attempt, 5.0), "the first asking is what the grace counts from"
    record.begin(5, uuid4().bytes, 1.0, 2.0, 1, 3, 2**63 - 1, 2**63 - 1)
    record.end(completed=False)
    assert (board.counts(last)[0], board.renewed(last), board.cancel_asked(last, attempt)) == (0, 12.5, 4.0)
    assert board.cancel_asked(last, Running(99, uuid4(), 0.0, 0.0, 2, 3)) == 0.0, "another attempt of the same revision"
    board.mark_renewed(last - 1, 1.0)
    board.clear(last)
    assert (board.renewed(last), board.cancel_asked(last, attempt), board.counts(last)) == (0.0, 0.0, (0, "starting"))
    assert board.renewed(last - 1) == 1.0


def test_the_lease_of_an_attempt_counts_from_its_claim_and_not_from_its_begin(board: Board) -> None:
    """A claim that was held behind another has less of its lease left when its handler begins (R18)."""
    attempt = Attempt(Record(board, 0))
    asked = time.monotonic() - 1.5
    attempt.begin(Claim(7, "page", "default", "{}", 1, None, 0, None, 1, None, uuid4(), asked), 60.0, 3)
    running = board.running(0)
    assert running is not None
    assert (running.claimed, attempt.claimed) == (asked, asked)
    assert attempt.over() < 1.5
