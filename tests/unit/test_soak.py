"""What a soak checks while it runs, and what of its course counts."""

import math
import time
from pathlib import Path

import pytest

from workerpool.bench.course import Course, apart
from workerpool.bench.record import EVENT, Record, Unverified
from workerpool.bench.soak import LEAST_RETENTION, Watch, retention_of, warm_after

BEGAN = time.time() - 100.0


def _noted(watch: Watch, id: int, start: float, end: float, by: str = "1") -> None:
    with (watch.record.folder / f"events-{by}").open("ab") as file:
        file.write(EVENT.pack(id, BEGAN + start, BEGAN + end))


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """One that has enqueued revisions 1 and 3 of item 0, and 2 and 4 of item 1, a second after BEGAN."""
    waiting = {1: (0, BEGAN + 1), 2: (1, BEGAN + 1), 3: (0, BEGAN + 1), 4: (1, BEGAN + 1)}
    return Watch(Record(tmp_path), enqueued=4, waiting=waiting)


def test_what_ran_in_order_is_taken_in_once(watch: Watch) -> None:
    """Each with the time that it waited, whichever process ran it, and nothing twice."""
    _noted(watch, 2, 2.0, 2.5, by="2")
    _noted(watch, 1, 3.0, 3.5)
    assert watch.look() == pytest.approx([1.0, 2.0])
    assert watch.look() == []
    _noted(watch, 3, 4.0, 4.5, by="2")
    assert watch.look() == pytest.approx([3.0])
    assert (watch.performed, set(watch.waiting)) == (3, {4})


def test_half_of_an_event_is_read_when_it_is_whole(watch: Watch) -> None:
    """A reader may come in the middle of a write."""
    whole = EVENT.pack(1, BEGAN + 2, BEGAN + 3)
    path = watch.record.folder / "events-1"
    path.write_bytes(whole[:10])
    assert watch.look() == []
    path.write_bytes(whole)
    assert watch.look() == pytest.approx([1.0])


def test_a_second_run_is_seen(watch: Watch) -> None:
    """Also long after the first one."""
    _noted(watch, 1, 2.0, 3.0)
    watch.look()
    _noted(watch, 1, 5.0, 6.0, by="2")
    with pytest.raises(Unverified, match="revision 1 ran twice"):
        watch.look()


def test_a_revision_before_its_predecessor_is_seen(watch: Watch) -> None:
    """In the order of their starts, by whatever processes."""
    _noted(watch, 3, 2.0, 3.0)
    _noted(watch, 1, 4.0, 5.0, by="2")
    with pytest.raises(Unverified, match="item i0: revision 1 ran before 3 had ended"):
        watch.look()


def test_two_of_an_item_at_a_time_are_seen(watch: Watch) -> None:
    """The second one began before the first one's end."""
    _noted(watch, 2, 2.0, 3.0)
    _noted(watch, 4, 2.9, 4.0, by="2")
    with pytest.raises(Unverified, match="item i1: revision 4 ran before 2 had ended"):
        watch.look()


def test_what_ended_after_the_look_began_waits_for_the_next(watch: Watch) -> None:
    """Its predecessor may be in a file that was read before it was there: that is no disorder."""
    late = time.time() - BEGAN + 0.2
    _noted(watch, 3, late - 0.1, late)
    assert watch.look() == []
    _noted(watch, 1, late - 0.3, late - 0.2, by="2")
    while time.time() < BEGAN + late:
        time.sleep(0.01)
    assert len(watch.look()) == 2


def test_lengths_go_with_the_run() -> None:
    """An hour has sixty retentions, samples every 5 s, and is warm after a fifth; a short run is still half of one."""
    assert (retention_of(3600), apart(3600), warm_after(3600)) == (60, 5, 720)
    assert (retention_of(18), apart(18), warm_after(18)) == (LEAST_RETENTION, 0.5, 9)


def test_the_warming_up_has_no_part_in_a_trend() -> None:
    """What was sampled before a course counts is left out, and what little is left is refused."""
    series = {"rows": [(float(at), 1000.0 * min(at, 50)) for at in range(200)]}
    assert not Course({}, series, 0.0).trends()["rows"].is_flat
    assert math.isclose(Course({}, series, 50.0).trends()["rows"].per_hour, 0.0)
    with pytest.raises(Unverified, match="rows: a trend needs 3 samples"):
        Course({}, series, 198.0).trends()
