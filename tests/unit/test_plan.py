"""The manager's next actions: the order of start and stop, deadlines, and an end that always comes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workerpool.core import plan as plans
from workerpool.core.plan import Abort, Ask, Child, Kill, Leave, Pool, Stage, Start, plan

GRACE, LEASE = 30.0, 60.0


def child(name: str, stage: Stage, state: str = "ready", **facts: object) -> Child:
    """A child that has been as it is since instant 0."""
    return Child(name, stage, state, 0.0, **facts)  # type: ignore[arg-type]


def pool(*children: Child, **facts: object) -> Pool:
    """A pool of these children."""
    return Pool(children, GRACE, LEASE, **facts)  # type: ignore[arg-type]


PREPARED = child("prepare", Stage.PREPARE, "finished")


def test_nothing_is_started_before_what_it_needs() -> None:
    """prepare waits for postgres to live; keeper and workers wait for prepare to have finished."""
    waiting = [child(stage.name, stage, "waiting") for stage in list(Stage) if stage not in (Stage.API, Stage.CHECK)]
    assert plan(pool(*waiting), 0.0) == (Start("POSTGRES"),)
    assert plan(pool(child("p", Stage.POSTGRES), *waiting[1:]), 0.0) == (Start("PREPARE"),)
    assert plan(pool(child("prepare", Stage.PREPARE, "ready"), *waiting[2:]), 0.0) == ()
    assert plan(pool(PREPARED, *waiting[2:]), 0.0) == (Start("KEEPER"), Start("WORKER"))


def test_the_api_takes_nothing_from_workers_that_come_up() -> None:
    """The API is started when no worker is about to be ready; one that backs off, or gave up, is not waited for."""
    api = child("api", Stage.API, "waiting")
    for state in ("waiting", "starting"):
        assert Start("api") not in plan(pool(PREPARED, api, child("W1", Stage.WORKER, state)), 1.0)
    for worker in (child("W1", Stage.WORKER, "ready"), child("W1", Stage.WORKER, "waiting", start_at=9.0)):
        assert Start("api") in plan(pool(PREPARED, api, worker), 1.0)
    assert Start("api") in plan(pool(PREPARED, api, child("W1", Stage.WORKER, "gave_up")), 1.0)


def test_a_back_off_is_waited_for() -> None:
    """A child is not started before its instant, nor when it is not wanted or was given up."""
    later = child("W1", Stage.WORKER, "waiting", start_at=5.0)
    assert plan(pool(PREPARED, later), 4.9) == ()
    assert plan(pool(PREPARED, later), 5.0) == (Start("W1"),)
    assert plan(pool(PREPARED, replace(later, wanted=False)), 9.0) == ()
    assert plan(pool(PREPARED, replace(later, state="gave_up")), 9.0) == ()


def test_what_is_late_hung_or_stopped_is_killed_once() -> None:
    """A child that does not boot, a handler past its limit, a worker stopped for a lease: killed, with the reason."""
    late = child("W1", Stage.WORKER, "starting")
    assert plan(pool(PREPARED, late), plans.BOOT_LIMIT + 1) == (Kill("W1", "late"),)
    hung = child("W1", Stage.WORKER, deadline=10.0)
    assert plan(pool(PREPARED, hung), 10.0 + plans.HARD_AFTER) == ()
    assert plan(pool(PREPARED, hung), 10.1 + plans.HARD_AFTER) == (Kill("W1", "timeout"),)
    stopped = child("W1", Stage.WORKER, stopped_for=LEASE)
    assert plan(pool(PREPARED, stopped), 0.0) == (Kill("W1", "stopped"),)
    assert plan(pool(PREPARED, replace(stopped, killed=True)), 0.0) == ()
    assert plan(pool(child("prepare", Stage.PREPARE, "starting")), 1000.0) == ()


def test_what_is_beyond_a_limit_is_killed_at_once_and_once() -> None:
    """A worker whose attempt uses too much memory or prints too much: killed, with that reason, during a stop too."""
    for why in ("memory", "output"):
        beyond = child("W1", Stage.WORKER, beyond=why)
        assert plan(pool(PREPARED, beyond), 0.0) == (Kill("W1", why),)  # type: ignore[arg-type]
        assert plan(pool(PREPARED, replace(beyond, asked=True), stopping_since=0.0), 1.0) == (Kill("W1", why),)  # type: ignore[arg-type]
        assert plan(pool(PREPARED, replace(beyond, killed=True)), 0.0) == ()


def test_a_stopped_keeper_goes_before_the_leases_do() -> None:
    """Nobody is renewed by a keeper that is stopped."""
    assert plan(pool(PREPARED, child("keeper", Stage.KEEPER, stopped_for=LEASE / 3)), 0.0) == (
        Kill("keeper", "stopped"),
    )


def test_a_worker_that_is_not_wanted_is_asked_once() -> None:
    """It finishes what it runs."""
    unwanted = child("W3", Stage.WORKER, wanted=False)
    assert plan(pool(PREPARED, unwanted), 0.0) == (Ask("W3"),)
    assert plan(pool(PREPARED, replace(unwanted, asked=True)), 0.0) == ()


def test_a_stop_goes_from_the_workers_to_the_database() -> None:
    """Workers first, the keeper when they are gone, postgres last; then the manager leaves."""
    postgres, keeper = child("postgres", Stage.POSTGRES), child("keeper", Stage.KEEPER)
    workers = (child("W1", Stage.WORKER), child("W2", Stage.WORKER))
    assert plan(pool(postgres, PREPARED, keeper, *workers, stopping_since=0.0), 1.0) == (Ask("W1"), Ask("W2"))
    asked = [replace(each, asked=True) for each in workers]
    assert plan(pool(postgres, PREPARED, keeper, *asked, stopping_since=0.0), 2.0) == ()
    assert plan(pool(postgres, PREPARED, keeper, stopping_since=0.0), 2.0) == (Ask("keeper"),)
    assert plan(pool(postgres, PREPARED, stopping_since=0.0), 2.0) == (Ask("postgres"),)
    assert plan(pool(PREPARED, stopping_since=0.0), 2.0) == (Leave(),)


def test_a_stop_during_prepare_asks_it_too() -> None:
    """prepare may wait for a database for long: it is asked whatever else is alive."""
    there = pool(child("postgres", Stage.POSTGRES), child("prepare", Stage.PREPARE, "starting"), stopping_since=0.0)
    assert plan(there, 0.0) == (Ask("prepare"),)


def test_a_check_of_a_new_configuration_is_killed_by_a_stop() -> None:
    """Nobody waits for it; the workers are asked in the same round."""
    there = pool(PREPARED, child("W1", Stage.WORKER), child("check", Stage.CHECK, "starting"), stopping_since=0.0)
    assert set(plan(there, 0.0)) == {Ask("W1"), Kill("check", "stop")}


def test_a_time_limit_holds_during_a_stop() -> None:
    """A handler past its limit is ended as a timeout, not released at the end of the grace."""
    hung = child("W1", Stage.WORKER, deadline=1.0, asked=True)
    assert plan(pool(PREPARED, hung, stopping_since=0.0), 5.0) == (Kill("W1", "timeout"),)


facts = st.builds(
    Child,
    st.uuids().map(str),
    st.sampled_from(Stage),
    st.sampled_from(["waiting", "starting", "ready", "finished", "gave_up"]),
    st.just(0.0),
    wanted=st.booleans(),
    asked=st.booleans(),
    aborted=st.booleans(),
    killed=st.booleans(),
    deadline=st.none() | st.floats(0, 100),
    accepted=st.none() | st.floats(0, 100),
    stopped_for=st.floats(0, 100),
    beyond=st.sampled_from([None, "memory", "output"]),
)


@given(st.lists(facts, max_size=6), st.booleans(), st.floats(0, 40), st.booleans())
def test_a_stop_always_comes_to_its_end(children: list[Child], quick: bool, step: float, obedient: bool) -> None:
    """Whatever the children are and do, the manager leaves within grace + 5 s, and nothing is asked or killed twice."""
    there = {each.name: each for each in children}
    end, now, done = (0.0 if quick else GRACE) + 5.0, 0.0, set()
    while True:
        actions = plan(Pool(tuple(there.values()), GRACE, LEASE, 0.0, quick), now)
        if Leave() in actions:
            break
        assert now <= end
        for action in actions:
            assert action not in done
            done.add(action)
            one = there[action.name]  # type: ignore[union-attr]
            match action:
                case Ask():
                    one = replace(one, asked=True)
                case Abort():
                    one = replace(one, asked=True, aborted=True)
                case Kill():
                    one = replace(one, killed=True)
                case _:
                    raise AssertionError(f"{action} during a stop")
            there[one.name] = replace(one, state="finished") if obedient else one
        if not actions:
            now += plans.next_moment(Pool(tuple(there.values()), GRACE, LEASE, 0.0, quick), now)


@given(st.lists(facts, max_size=6), st.floats(0, 50), st.floats(0.001, 0.999))
def test_nothing_is_due_before_the_next_moment(children: list[Child], now: float, part: float) -> None:
    """What the plan says can change by the clock alone no earlier than it announced."""
    there = Pool(tuple(children), GRACE, LEASE, 10.0 if now >= 10 else None)
    sleep = plans.next_moment(there, now)
    assert 0 < sleep <= 1.0
    before, after = plan(there, now), plan(there, now + sleep * part - 0.001)
    assert set(before) >= set(after) or sleep * part <= 0.001


def test_a_quick_stop_has_no_grace() -> None:
    """Workers are told to abort at once, and killed two seconds later."""
    worker = child("W1", Stage.WORKER)
    assert plan(pool(PREPARED, worker, stopping_since=0.0, quick=True), 0.0) == (Abort("W1"),)
    aborted = replace(worker, asked=True, aborted=True)
    assert plan(pool(PREPARED, aborted, stopping_since=0.0, quick=True), plans.KILL_WORKERS) == (Kill("W1", "stop"),)
