"""Which server is taken for an old primary, and that every process of a host knows which one is worked on."""

import os

import pytest

from workerpool.core.origin import Origin
from workerpool.link.board import Board


@pytest.mark.parametrize(
    ("origin", "known", "behind"),
    [
        (Origin(7, 1), Origin(7, 2), True),
        (Origin(7, 2), Origin(7, 2), False),
        (Origin(7, 3), Origin(7, 2), False),
        (Origin(8, 1), Origin(7, 2), False),
    ],
)
def test_an_earlier_timeline_of_the_same_cluster_is_an_old_primary(origin: Origin, known: Origin, behind: bool) -> None:
    """Another cluster is not: that is what the operator's URL says now."""
    assert origin.is_behind(known) is behind


def test_the_board_passes_on_which_server_is_worked_on() -> None:
    """Nothing at first; then what the keeper wrote, as large and as negative as an identifier may be."""
    board = Board.create()
    other = Board(os.dup(board.descriptor))
    assert other.origin() is None
    for origin in (Origin(7_577_000_000_000_000_000, 1), Origin(-5, 4_000_000_000)):
        board.mark_origin(origin)
        assert other.origin() == origin
    assert other.pause_version() == 0
