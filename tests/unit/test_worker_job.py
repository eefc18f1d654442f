"""A job runs once, hands its result over once, and its callbacks run exactly once each, under any race."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from workerpool.core.errors import Cancelled
from workerpool.job.continuations import (
    Added,
    CompletedTwice,
    CompletionType,
    Continuations,
    JobState,
    wait_for_callbacks,
)
from workerpool.job.token import CancellationToken
from workerpool.job.worker_job import Phase, StillRunning, WorkerJob, WrongPhase

LIMIT = 10.0


class Somebody:
    """A worker with a name."""

    name = "somebody"


def test_a_job_gives_its_result_once() -> None:
    """launch, wait, result; before, twice and after are errors that say what to do."""
    job = WorkerJob(Somebody(), lambda token: 42)
    assert job.phase is Phase.NEW
    with pytest.raises(WrongPhase, match="wait: the job is new; launch it first"):
        job.wait()
    job.launch()
    with pytest.raises(WrongPhase, match="a job runs once"):
        job.launch()
    assert job.wait(LIMIT) == 42
    assert job.phase is Phase.DONE
    with pytest.raises(WrongPhase, match="handed over already"):
        job.wait()
    with pytest.raises(WrongPhase, match="a job runs once"):
        job.run()


def test_the_error_of_a_task_is_raised_where_it_is_waited_for() -> None:
    """Of a thread, of this thread, of a coroutine; also what is no Exception."""

    def fail(token: CancellationToken) -> None:
        raise SystemExit(3)

    async def fail_later(token: CancellationToken) -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    launched = WorkerJob(Somebody(), fail)
    launched.launch()
    with pytest.raises(SystemExit):
        launched.wait(LIMIT)
    here = WorkerJob(None, fail_later)
    here.run()
    with pytest.raises(ValueError, match="later"):
        here.wait()
    assert here.continuations.completion is CompletionType.FAILED


def test_a_cancel_is_asked_for_and_never_forced() -> None:
    """The token tells the task; a coroutine is ended at its next await; who goes on succeeds, and is NORMAL."""

    def polite(token: CancellationToken) -> None:
        token.wait(LIMIT)
        token.raise_if_cancelled()

    async def endless(token: CancellationToken) -> None:
        await asyncio.sleep(1000)

    def deaf(token: CancellationToken) -> str:
        token.wait(LIMIT)
        return "done all the same"

    for task in (polite, endless):
        job = WorkerJob(Somebody(), task)
        job.launch()
        with pytest.raises(StillRunning):
            job.wait(0.01)
        assert job.cancel("enough")
        assert not job.cancel("again"), "the first reason stays"
        with pytest.raises(Cancelled, match="enough"):
            job.wait(LIMIT)
        assert job.continuations.completion is CompletionType.CANCELLED
    job = WorkerJob(Somebody(), deaf)
    job.launch()
    job.cancel("enough")
    assert job.wait(LIMIT) == "done all the same"
    assert job.continuations.completion is CompletionType.NORMAL
    assert not job.cancel("too late")


def test_an_event_loop_waits_too() -> None:
    """wait_async from a running loop; a token can be waited for there as well."""

    async def main() -> tuple[Any, bool, bool]:
        token = CancellationToken()
        job = WorkerJob(Somebody(), lambda _: "result")
        job.launch()
        result = await job.wait_async(LIMIT)
        early = await token.wait_async(0.01)
        asyncio.get_running_loop().call_soon(token.cancel, "now")
        return result, early, await token.wait_async(LIMIT)

    assert asyncio.run(main()) == ("result", False, True)


def test_callbacks_run_elsewhere_with_worker_type_and_message() -> None:
    """After completion they run at once; the same key replaces and says so; one that raises hurts no other."""
    calls: list[tuple[str, object, CompletionType, str | None, int]] = []

    def note(key: str) -> Callable[[object, CompletionType, str | None], None]:
        return lambda worker, kind, error: calls.append((key, worker, kind, error, threading.get_ident()))

    def broken(worker: object, kind: CompletionType, error: str | None) -> None:
        raise RuntimeError("a callback's own")

    continuations, worker = Continuations(), Somebody()
    assert continuations.state is JobState.RUNNING
    assert continuations.add_or_run_now("a", note("first a")) is Added.REGISTERED
    assert continuations.add_or_run_now("broken", broken) is Added.REGISTERED
    assert continuations.add_or_run_now("a", note("a"), worker) is Added.REPLACED
    assert continuations.add_or_run_now("b", note("b")) is Added.REGISTERED
    assert continuations.complete(ValueError("no")) is CompletionType.FAILED
    assert continuations.state is JobState.DONE
    with pytest.raises(CompletedTwice, match="failed"):
        continuations.complete(None)
    assert wait_for_callbacks(LIMIT)
    assert continuations.add_or_run_now("late", note("late"), worker) is Added.RUN_NOW
    assert wait_for_callbacks(LIMIT)
    assert [call[:4] for call in calls] == [
        ("a", worker, CompletionType.FAILED, "ValueError: no"),
        ("b", None, CompletionType.FAILED, "ValueError: no"),
        ("late", worker, CompletionType.FAILED, "ValueError: no"),
    ]
    assert threading.get_ident() not in {call[4] for call in calls}


def test_callbacks_can_run_in_an_event_loop() -> None:
    """Given a loop, they run on its thread; a loop that is closed does not swallow them."""
    loop, where = asyncio.new_event_loop(), []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    there = Continuations(loop)
    there.add_or_run_now("where", lambda *_: where.append(threading.get_ident()))
    there.complete(None)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(LIMIT)
    loop.close()
    assert where == [thread.ident]
    there.add_or_run_now("after", lambda *_: where.append(threading.get_ident()))
    assert wait_for_callbacks(LIMIT)
    assert len(where) == 2


def test_each_callback_runs_exactly_once_under_any_race() -> None:
    """Adders race with one completer, again and again: none is lost and none runs twice; one completer of two wins."""
    for _ in range(200):
        continuations, calls, refused = Continuations(), Counter[str](), Counter[str]()
        gate = threading.Barrier(6)

        def add(
            name: str, to: Continuations = continuations, count: Counter[str] = calls, go: threading.Barrier = gate
        ) -> None:
            go.wait(LIMIT)
            for n in range(5):
                key = f"{name}{n}"
                to.add_or_run_now(key, lambda *_, key=key: count.update([key]))  # type: ignore[misc]

        def complete(
            of: Continuations = continuations, count: Counter[str] = refused, go: threading.Barrier = gate
        ) -> None:
            go.wait(LIMIT)
            try:
                of.complete(None)
            except CompletedTwice:
                count.update(["twice"])

        threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
        threads += [threading.Thread(target=complete) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert wait_for_callbacks(LIMIT)
        assert calls == {f"{name}{n}": 1 for name in "abcd" for n in range(5)}
        assert refused["twice"] == 1


def test_children_are_cancelled_with_their_parent_and_never_the_reverse() -> None:
    """With the parent's reason; a child made later is cancelled from the start; one that nobody holds is forgotten."""
    parent = CancellationToken()
    child, sibling = parent.child(), parent.child()
    grandchild = child.child()
    child.cancel("its own")
    assert (parent.cancelled, sibling.cancelled, grandchild.reason) == (False, False, "its own")
    del sibling
    gc.collect()
    assert len(parent._children or ()) == 1
    parent.cancel("all")
    assert child.reason == "its own"
    assert parent.child().reason == "all"


def test_who_listens_to_a_token_is_told_once() -> None:
    """At once if it is cancelled; not after taking the callback back; a raising one is logged and hurts no other."""
    token, told = CancellationToken(), []
    remove = token.on_cancel(lambda reason: told.append(f"removed {reason}"))
    token.on_cancel(lambda reason: 1 / 0)
    token.on_cancel(told.append)
    remove()
    assert token.cancel("now")
    token.on_cancel(told.append)
    assert told == ["now", "now"]
    assert token.wait(0)


def test_a_thread_that_waits_for_a_token_is_woken() -> None:
    """At once, not at its timeout."""
    token, began = CancellationToken(), time.monotonic()
    threading.Timer(0.05, token.cancel, ["now"]).start()
    assert token.wait(LIMIT)
    assert time.monotonic() - began < LIMIT / 2


@pytest.mark.parametrize(
    ("error", "cancelled", "completion"),
    [
        (None, False, CompletionType.NORMAL),
        (None, True, CompletionType.NORMAL),
        (Cancelled("asked"), False, CompletionType.CANCELLED),
        (ValueError("while it was ending"), True, CompletionType.CANCELLED),
        ("boom", True, CompletionType.CANCELLED),
        (ValueError("boom"), False, CompletionType.FAILED),
        ("boom", False, CompletionType.FAILED),
    ],
)
def test_the_completion_type_is_that_of_the_table(
    error: BaseException | str | None, cancelled: bool, completion: CompletionType
) -> None:
    """Success is NORMAL even if a cancel was asked for; what did not succeed and was to be cancelled is CANCELLED."""
    token, told = CancellationToken(), Continuations()
    if cancelled:
        token.cancel("asked")
    assert told.complete(error, "W1", token) is completion
    assert told.completion is completion
