"""Messages between the manager and a child: whole, in order, kept while the other does not read."""

from collections.abc import Iterator

import pytest

from workerpool.link import channel
from workerpool.link.channel import LARGEST, MOST_WAITING, Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel."""
    ours, theirs = channel.pair()
    other = Channel(theirs)
    yield ours, other
    ours.close()
    other.close()


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    """Also those that are large, and texts that JSON or UTF-8 find hard."""
    ours, theirs = ends
    texts = ["", "ü🎈", "\x00\x01", "lone \ud800 surrogate", "x" * 100_000]
    for number, text in enumerate(texts):
        assert ours.send("said", number=number, text=text)
    got = theirs.receive()
    assert [each["text"] for each in got] == texts
    assert [each["number"] for each in got] == list(range(len(texts)))
    assert theirs.receive() == []
    assert not theirs.closed


def test_what_cannot_be_sent_now_is_kept(ends: tuple[Channel, Channel]) -> None:
    """An end that does not read for a while gets everything afterwards, in order (R21: no death is lost)."""
    ours, theirs = ends
    count = 3_000
    for number in range(count):
        assert ours.send("ended", number=number, text="x" * 1_000)
    assert not ours.flush()
    got: list[int] = []
    while len(got) < count:
        got += [each["number"] for each in theirs.receive()]
        ours.flush()
    assert got == list(range(count))
    assert ours.flush()


def test_what_need_not_be_kept_is_dropped_and_said_so(ends: tuple[Channel, Channel]) -> None:
    """Output of handlers must not fill the memory of the manager."""
    ours, theirs = ends
    while ours.send("output", keep=False, text="x" * 10_000):
        pass
    assert not ours.send("output", keep=False)
    before = len(theirs.receive())
    assert ours.flush()
    assert theirs.receive() == []
    assert before > 10


def test_an_end_that_never_reads_does_not_fill_the_memory(ends: tuple[Channel, Channel]) -> None:
    """The number that waits is bounded, and a sender learns of it."""
    ours, _ = ends
    sent = 0
    while ours.send("x", text="y" * 100) and sent < 3 * MOST_WAITING:
        sent += 1
    assert sent < 3 * MOST_WAITING


def test_the_end_of_the_other_is_seen(ends: tuple[Channel, Channel]) -> None:
    """What it had sent is still heard; sending to it is no error."""
    ours, theirs = ends
    ours.send("last words")
    ours.close()
    assert [each["kind"] for each in theirs.receive()] == ["last words"]
    theirs.receive()
    assert theirs.closed
    assert not theirs.send("anybody?")


def test_what_comes_right_after_the_brief_is_not_lost(ends: tuple[Channel, Channel]) -> None:
    """A stop that was sent together with the brief is heard (F66)."""
    ours, theirs = ends
    ours.send("brief", slot="W1")
    ours.send("stop")
    assert theirs.brief() == {"slot": "W1"}
    assert [each["kind"] for each in theirs.receive()] == ["stop"]


def test_a_brief_that_never_comes_is_the_end(ends: tuple[Channel, Channel]) -> None:
    """The manager died before it wrote."""
    ours, theirs = ends
    ours.close()
    assert theirs.brief() is None


def test_a_message_that_is_too_large_is_refused(ends: tuple[Channel, Channel]) -> None:
    """With its size."""
    with pytest.raises(ValueError, match=str(LARGEST)):
        ends[0].send("large", text="x" * LARGEST)
