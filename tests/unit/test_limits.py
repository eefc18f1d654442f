"""What an attempt prints and uses is counted, and the sentence about too much of it gives the figure."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from workerpool.core.errors import OutputLimitExceeded, message_of
from workerpool.core.plan import Stage, Why
from workerpool.core.sizes import format_beside
from workerpool.link.board import Board, Record
from workerpool.manager import memory
from workerpool.manager.memory import MemoryWatch, Use
from workerpool.manager.output import OutputLines
from workerpool.manager.slot import Slot
from workerpool.manager.spec import ChildSpec
from workerpool.worker.output import Printed

MIB = 1 << 20


@pytest.mark.parametrize(
    ("count", "limit", "text"),
    [
        (312 * MIB, 256 * MIB, "312 MiB"),
        (256 * MIB + 1, 256 * MIB, "256.1 MiB"),
        (612_000_000, 500_000_000, "612 MB"),
        ((3 << 30) // 2, 1 << 30, "1.5 GiB"),
        (4096, 4096, "4 KiB"),
        (1_500, 1_000, "1.5 kB"),
        (77, 7, "77 bytes"),
    ],
)
def test_a_figure_stands_in_the_unit_of_its_limit(count: int, limit: int, text: str) -> None:
    """Rounded up, so that what is beyond a limit never reads as the limit."""
    assert format_beside(count, limit) == text


def test_the_sentence_names_the_figure_the_limit_and_whose_it_was() -> None:
    """One process and several read well."""
    told = Use(312 * MIB, 2).told(256 * MIB)
    assert told == "it used 312 MiB of memory, its limit is 256 MiB (worker and 2 processes of it)"
    assert Use(312 * MIB, 1).told(256 * MIB).endswith("(worker and 1 process of it)")
    assert Use(312 * MIB, 0).told(256 * MIB).endswith("(worker)")
    assert message_of(OutputLimitExceeded(MIB)) == "it printed more than 1 MiB"


def test_what_is_printed_is_counted_in_bytes_on_both_streams() -> None:
    """Exactly the limit is allowed; one more is not, and nothing after it, also where the handler goes on."""
    printed = Printed(10)
    printed.count("żó")
    printed.count("sixsix")
    printed.check()
    for _ in range(2):
        with pytest.raises(OutputLimitExceeded):
            printed.count("x")
    with pytest.raises(OutputLimitExceeded):
        printed.check()
    with pytest.raises(OutputLimitExceeded):
        Printed(5).count("żółw")


@pytest.fixture
def family() -> Iterator[int]:
    """A process of 64 MiB that has one child, in a session of its own, of another 64 MiB; returns the parent's pid."""
    hoard = "hoard = b'x' * (64 << 20); import subprocess, sys\n"
    child = hoard + "print('there', flush=True); sys.stdin.read()"
    script = f"{hoard}subprocess.run([sys.executable, '-S', '-c', {child!r}], start_new_session=True)"
    process = subprocess.Popen([sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    yield process.pid
    process.communicate()  # the end of their input ends both


@pytest.mark.parametrize("listed", [True, False])
def test_a_worker_is_measured_with_its_descendants(family: int, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of its handler count, whatever session they are in, with and without the kernel's lists."""
    monkeypatch.setattr(memory, "_LISTED", listed)
    use = memory.measure(family)
    assert use.processes == 1
    assert 128 * MIB < use.size < 200 * MIB


def test_nobody_is_looked_at_too_often(family: int) -> None:
    """A quarter of a second lies between two looks; a process that is gone uses nothing."""
    watch = MemoryWatch()
    assert watch.look(family, 100.0) is not None
    assert watch.look(family, 100.0 + memory.LOOK_EVERY / 2) is None
    assert watch.look(family, 110.0) is not None
    assert MemoryWatch().look(2**22 + 1, 0.0) == Use(0, 0)


@pytest.mark.parametrize(("next_one", "reason"), [(7, "output"), (8, "recycled"), (None, "recycled")])
def test_only_the_attempt_that_was_beyond_its_limit_is_charged(next_one: int | None, reason: str) -> None:
    """What its worker took up between the look and the kill, of the same turn and so of the same token, is not."""
    board, token = Board.create(), uuid4().bytes
    record, slot = Record(board, 0), Slot(ChildSpec("W1", Stage.WORKER, (), board_slot=0))
    record.begin(7, token, 0.0, 9.0, 1, 3)
    running = board.running(0)
    assert running is not None
    slot.exceed("output", running, "it printed too much")
    slot.exceed("memory", running, "and used too much")
    record.end(completed=True)
    if next_one is not None:
        record.begin(next_one, token, 0.0, 9.0, 1, 3)
    slot.killed = "output"
    end = slot.end_of(-9, board)
    assert (end.reason, end.planned) == (reason, reason == "recycled")
    assert "it printed too much" in end.message


@pytest.mark.parametrize("why", ["timeout", "cancel"])
@pytest.mark.parametrize("next_one", [7, 8, None])
def test_only_the_attempt_that_was_judged_is_ended(next_one: int | None, why: Why) -> None:
    """A next attempt that begins between the look and the kill has neither timed out nor been cancelled."""
    board, token = Board.create(), uuid4().bytes
    record, slot = Record(board, 0), Slot(ChildSpec("W1", Stage.WORKER, (), board_slot=0))
    record.begin(7, token, 0.0, 9.0, 1, 3)
    slot.judge(board)
    record.end(completed=True)
    if next_one is not None:
        record.begin(next_one, token, 0.0, 9.0, 1, 3)
    slot.condemn(why)
    end = slot.end_of(-9, board)
    assert end.reason == (why if next_one == 7 else "recycled")
    assert end.planned == (why == "cancel" or next_one != 7)


def test_what_is_written_past_python_is_counted_for_each_attempt() -> None:
    """Claims of one turn share their token: the count begins again with each revision."""
    board, token = Board.create(), uuid4().bytes
    record, output = Record(board, 0), OutputLines(lambda *_, **__: None)
    for revision in (7, 8):
        record.begin(revision, token, 0.0, 9.0, 1, 3)
        assert [output.take("W1", b"x" * 10, board.running(0)) for _ in range(2)] == [10, 20]
        assert output.take("W2", b"x", board.running(0)) == 1
        record.end(completed=True)
        output.take("W2", b"x", None)
