"""The workloads: their names, what each is in a sentence, and which function performs it.

Owns: the list, in the order in which they are run, and what is compared with what. Invariant: every name that is
compared with is a figure of some workload here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workerpool.bench import company, cost, crowd, entrance, floor, guard, response, rest, soak, telling, throughput
from workerpool.bench.course import Course
from workerpool.bench.ground import Ground
from workerpool.bench.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload: `about` is a sentence for people, with the sizes in braces."""

    about: str
    perform: Callable[[Ground, Sizes], dict[str, float] | Course]
    #: Whether the record of the handlers is held against the rows; elsewhere figures are read off, and rows counted.
    verified: bool = True

    def sentence(self, sizes: Sizes) -> str:
        """Return what it is, with its sizes."""
        values = {name: getattr(sizes, name) for name in Sizes.__dataclass_fields__}
        values["depth"] = max(sizes.revisions // sizes.items, 1)
        values["hot_depth"] = max(sizes.hot // sizes.items, 1)
        values["counts"] = ", ".join(map(str, sizes.workers))
        values["capped"] = "" if sizes.soak_most is None else f", at most {sizes.soak_most:,.0f} a second,"
        return self.about.format(**values)


FLOOR = "FLOOR"
WORKLOADS: dict[str, Workload] = {
    FLOOR: Workload("the same transactions by pgbench on the same server, with no pool", floor.floor, verified=False),
    "W1": Workload("{revisions:,} independent revisions that do nothing", throughput.independent),
    "W2": Workload("{items:,} items of {depth:,} revisions each, in order", throughput.ordered),
    "W3": Workload(
        "a hot item: {hot:,} revisions of one item, and behind them {items:,} items of {hot_depth:,}",
        throughput.hot_item,
    ),
    "W4": Workload("a backlog: the first {first:,} of {queued:,} that are queued", throughput.backlog),
    "W5": Workload(
        "pick-up: from the commit of an insert to the start of its handler, {picks:,} times", response.pick_up
    ),
    "W6": Workload("enqueueing: {singles:,} single commits, and {bulk:,} at once", entrance.enqueueing, verified=False),
    "W7": Workload("{short:,} handlers of 5 ms, in order: ideal time over time taken", throughput.short_handlers),
    "LONG": Workload("{long:,} handlers of 200 ms, in order: ideal time over time taken", throughput.long_handlers),
    "HOT": Workload(
        "a deep item: {beside:,} others with handlers of 5 ms behind {hot_front:,} revisions of one item",
        throughput.beside_hot,
    ),
    "PRIORITY": Workload("{revisions:,} independent revisions of five priorities, mixed", throughput.priorities),
    "OBSTACLES": Workload(
        "{first:,} independent revisions, with {waiting:,} scheduled ones and ones that back off in the way",
        throughput.obstacles,
    ),
    "WORKERS": Workload("{revisions:,} independent revisions with {counts} workers", company.workers),
    "MANAGERS": Workload("two daemons on one database, {items:,} items of {depth:,} in order", company.managers),
    "PAUSE": Workload(
        "what the look at the pause costs a claim, and a turn that settles too", guard.pause_check, verified=False
    ),
    "LIMIT": Workload(
        "what a handler with a limit, and nothing to do, costs a turn of others", guard.limit_check, verified=False
    ),
    "PROGRESS": Workload(
        "what progress and log calls cost a handler of 1 ms: the ratio of rates", telling.progress_calls
    ),
    "IDLE": Workload("16 workers without work, for {idle_seconds:g} s", rest.idle, verified=False),
    "MEMORY": Workload("resident memory of the processes before their first revision", rest.memory, verified=False),
    "START": Workload(
        "from the start to the first handler with a database there, and from the kill of a worker to the next",
        response.start,
        verified=False,
    ),
}
WORKLOADS |= {
    "CROWD": Workload(
        "handlers of 5 ms beside 200 idle event streams and a flood of webhooks: the ratio of rates", crowd.crowd
    ),
    "COST": Workload("where the time and the WAL of a turn go, part by part", cost.cost, verified=False),
    "SOAK": Workload("half of the full load{capped} for {soak_minutes:g} minutes, with retention on", soak.soak),
}
#: Performed only where they are named.
ON_DEMAND = ("COST", "CROWD", "SOAK")
#: Workloads in which `--kill` kills workers.
KILLED = ("W1", "W2", "W3")


@dataclass(frozen=True, slots=True)
class Against:
    """What a figure is compared with: another figure, and its name for people."""

    workload: str
    figure: str
    words: str


_W1 = Against("W1", "per_second", "W1")
_TURN = Against(FLOOR, "turn_batch_per_second", "pgbench, our statement, large batches")
_BATCH = Against(FLOOR, "batch_per_second", "pgbench, bare, batches of 100")
_INSERT = Against(FLOOR, "insert_per_second", "pgbench, bare insert, 2 clients")
_HOT_1 = Against(FLOOR, "fused_1_client_per_second", "pgbench, bare fused statement, 1 client")
_HOT_OURS = Against(FLOOR, "turn_hot_1_client_per_second", "pgbench, our statement, 1 client")

COMPARED: dict[tuple[str, str], tuple[Against, ...]] = {
    ("W1", "per_second"): (_TURN, _BATCH),
    ("W2", "per_second"): (_W1, _TURN),
    ("W3", "hot_per_second"): (_HOT_1, _HOT_OURS),
    ("W3", "others_per_second"): (Against("W3", "others_alone_per_second", "the same alone"),),
    ("W4", "per_second"): (_W1,),
    ("W6", "client_per_second"): (_INSERT,),
    ("W6", "sql_per_second"): (_INSERT,),
    ("W6", "many_per_second"): (Against(FLOOR, "copy_per_second", "a bare COPY"),),
    ("HOT", "others_per_second"): (Against("HOT", "others_alone_per_second", "the same alone"),),
    ("PRIORITY", "per_second"): (_W1,),
    ("OBSTACLES", "per_second"): (_W1,),
    ("MANAGERS", "per_second"): (Against("W2", "per_second", "W2"),),
    **{("WORKERS", f"{count}_workers_per_second"): (_W1,) for count in (2, 4, 8, 16)},
}


def floors_of(names: list[str]) -> set[str]:
    """Return the floors that the figures of these workloads are compared with."""
    return {
        against.figure
        for (workload, _), found in COMPARED.items()
        for against in found
        if workload in names and against.workload == FLOOR
    }
