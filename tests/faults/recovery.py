"""From the books of a run: for how long what was held by somebody who was hit stayed theirs, and what was promised.

Owns: whose claims a fault hit, when they were free again, when a keeper was there that could free them. Does not own:
what must hold besides (``chronicle``). All moments are seconds of the machine's clock, which is the server's too; a
host's own may be off by so many times JUMP.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.process.daemon import Daemon
from tests.store.history import Change

#: Seconds by which clocks jump: much more than a run takes, so that what was logged meanwhile is told from it.
JUMP = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, from its commit to its end; ``taken`` tells that somebody else than its holder ended it, or that the
    holder gave it back.
    """

    revision: int
    worker: str
    since: float
    until: float
    taken: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """Workers that were hit at a moment: their names, or those of their managers with a slash behind."""

    fault: str
    workers: frozenset[str]
    at: float

    def of(self, worker: str) -> bool:
        """Tell whether this worker was hit."""
        return worker in self.workers or f"{worker.rpartition('/')[0]}/" in self.workers


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done, to which host (its number; None: to the server, or through it), from when to when."""

    kind: str
    host: int | None
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """A claim that was taken from somebody who was hit; ``bound``: when it had to be free.

    ``plain``: that is so long after the hit as is promised, because somebody was there who could free it.
    """

    hit: Hit
    claim: Claim
    bound: float
    plain: bool

    @property
    def seconds(self) -> float:
        """From the hit until it was free."""
        return self.claim.until - self.hit.at

    @property
    def late(self) -> float:
        """For how much longer than the bound it was held; less than 0: it was not."""
        return self.claim.until - self.bound


@dataclass(frozen=True, slots=True)
class Promise:
    """LEASE + SWEEP + 2 HB (FAULTS 1.0): a keeper looks for leases that ran out every sixth of one, or half second."""

    lease: float
    heartbeat: float

    @property
    def after_lease(self) -> float:
        """What comes after the lease: the sweep and two heartbeats."""
        return max(0.5, self.lease / 6) + 2 * self.heartbeat

    @property
    def seconds(self) -> float:
        """The promised seconds."""
        return self.lease + self.after_lease


def claims(changes: Iterable[Change]) -> Iterator[Claim]:
    """Return every claim that ended; *changes* stand by revision and version."""
    begun = last = None
    for change in changes:
        if change.after == "processing" and change.before != "processing":
            begun = change
        elif change.before == "processing" and change.after != "processing":
            assert begun is not None
            assert last is not None
            counted = (change.attempt - last.attempt, change.crashes - last.crashes)
            # A holder that ends its attempt itself changes no count.
            yield Claim(change.revision, begun.worker or "", begun.at, change.at, counted in {(-1, 0), (0, 1)})
        last = change


def taken(found: Iterable[Claim], hits: Sequence[Hit]) -> Iterator[tuple[Hit, Claim]]:
    """Return each claim that was taken from somebody who was hit while they held it, with the last such hit."""
    for claim in found:
        if claim.taken:
            its = [hit for hit in hits if claim.since <= hit.at < claim.until and hit.of(claim.worker)]
            if its:
                yield max(its, key=lambda hit: hit.at), claim


def seconds(changes: Iterable[Change], hits: Sequence[Hit]) -> list[float]:
    """Return for how long each claim stayed with who was hit."""
    return [claim.until - hit.at for hit, claim in taken(claims(changes), hits)]


def recovered(
    changes: Iterable[Change], hits: Sequence[Hit], windows: Sequence[tuple[float, float]], promise: Promise
) -> list[Recovery]:
    """Return each recovery with its bound: so long after the lease as somebody who could free it was there."""
    found = []
    for hit, claim in taken(claims(changes), hits):
        over = hit.at + promise.lease
        bounds = [max(since, over) + promise.after_lease for since, until in windows if until > over]
        ends = [until for since, until in windows if until > over]
        bound = min((each for each, end in zip(bounds, ends, strict=True) if each <= end), default=float("inf"))
        found.append(Recovery(hit, claim, bound, bound == over + promise.after_lease))
    return found


# -- what logs tell ------------------------------------------------------------------------------------------------


def at(event: dict[str, Any]) -> float:
    """When an event of this run was logged, however far off the clock was that it was logged by."""
    told = datetime.fromisoformat(event["timestamp"]).timestamp()
    return told - JUMP * round((told - time.time()) / JUMP)


def manager(host: Daemon) -> str:
    """The name of the manager that was started last, with a slash behind."""
    return f"{host.events('manager.started')[-1]['manager']}/"


def workers(host: Daemon) -> dict[int, str]:
    """The living workers of a host: pids and names."""
    named = {pid: name for _, pid, name in _started(host)}
    return {pid: named[pid] for pid in host.others() if pid in named}


def deaths(host: Daemon, fault: str) -> list[Hit]:
    """The workers of a host that were killed, as its managers told it."""
    started = list(_started(host))
    found = []
    for event in host.events("child.exited", status=-9):
        name = next((name for since, pid, name in reversed(started) if pid == event["pid"] and since <= at(event)), "")
        if name:
            found.append(Hit(fault, frozenset({name}), at(event)))
    return found


def _started(host: Daemon) -> Iterator[tuple[float, int, str]]:
    name = ""
    for event in host.events():
        if event.get("event") == "manager.started":
            name = event["manager"]
        elif event.get("event") == "child.started" and event["child"].startswith("W"):
            yield at(event), event["pid"], f"{name}/{event['child']}.{event['generation']}"


def managers(host: Daemon) -> frozenset[str]:
    """The names of all managers that a host ever had, with a slash behind each."""
    return frozenset(f"{event['manager']}/" for event in host.events("manager.started"))


def windows(host: Daemon, number: int, deeds: Sequence[Deed], lease: float) -> list[tuple[float, float]]:
    """When the keeper of a host could free what others held, as far as what was done to it allows.

    From a lease after it connected (R17) until it lost its connection or was hit. One that was stopped, or cut off, and
    kept its connection, goes on afterwards; behind a cut the first packet may wait as long again as it lasted.
    """
    moments = [(at(event), "up") for event in host.events("keeper.connected")]
    moments += [(at(event), "lost") for event in host.events("database.lost", role="keeper")]
    moments += [(at(event), "lost") for event in host.events("child.exited", child="keeper")]
    for deed in deeds:
        if deed.host != number or deed.kind in {"kill_worker", "stop_worker", "jump_clock"}:
            continue
        stays = deed.kind in {"freeze_host", "slow_network"} or deed.kind.startswith("cut_")
        moments.append((deed.since, "away" if stays else "lost"))
        if not stays:  # one that was starting still when its host was told to stop connects and ends with it
            moments.append((deed.until, "lost"))
        else:
            on = deed.until if deed.kind == "freeze_host" else 2 * deed.until - deed.since
            moments.append((on, "back"))
    found: list[tuple[float, float]] = []
    since: float | None = None
    connected: float | None = None
    away = 0  # a host may be stopped before what was cut of it has come back
    for moment, what in sorted(moments):
        away += (what == "away") - (what == "back")
        if what == "back":
            if since is None and connected is not None and not away:
                since = max(moment, connected + lease)
            continue
        if since is not None and moment > since:
            found.append((since, moment))
        if what != "away":
            connected = moment if what == "up" else None
        since = moment + lease if what == "up" else None
    return found if since is None else [*found, (since, float("inf"))]


def without(windows: Iterable[tuple[float, float]], holes: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return what is left of *windows* outside of *holes*."""
    left = list(windows)
    for since, until in holes:
        left = [
            part
            for begin, end in left
            for part in ((begin, min(end, since)), (max(begin, until), end))
            if part[0] < part[1]
        ]
    return left


#: After these a host, or the server, is up again when they are over: from then on it is waited for a begin.
BEGINS = frozenset(
    {
        *("kill_manager", "kill_host", "freeze_host", "restart_host"),
        *("cut_both", "cut_requests", "cut_answers", "slow_network"),
        *("kill_backend", "restart_server", "freeze_server", "pause"),
    }
)


def begun(changes: Iterable[Change], deeds: Sequence[Deed], names: Sequence[frozenset[str]]) -> dict[str, list[float]]:
    """Return, by kind of deed, the seconds from its end until a revision begins: on its host, or anywhere.

    *names* are those of the managers of each host. Where more trouble came before that, nothing is measured.
    """
    starts = sorted((each.at, each.worker or "") for each in changes if _begins(each))
    found: dict[str, list[float]] = defaultdict(list)
    big = [deed for deed in deeds if deed.kind in BEGINS]
    for number, deed in enumerate(big):
        later = (other for other in big[number + 1 :] if deed.host is None or other.host in (None, deed.host))
        limit = next((other.since for other in later), float("inf"))
        for moment, worker in starts[bisect(starts, (deed.until, "")) :]:
            if moment >= limit:
                break
            if deed.host is None or f"{worker.rpartition('/')[0]}/" in names[deed.host]:
                found[deed.kind].append(moment - deed.until)
                break
    return found


def _begins(change: Change) -> bool:
    return change.after == "processing" and change.before != "processing"


def after_loss(host: Daemon, changes: Iterable[Change], faults: Sequence[float]) -> list[float]:
    """Return the seconds from each fault at which all sessions were lost until a revision begins in a new one."""
    losses = [at(event) for event in host.events("database.lost", role="keeper")]
    starts = sorted(each.at for each in changes if _begins(each))
    found = []
    for fault, following in zip(faults, [*faults[1:], float("inf")], strict=True):
        lost = next((each for each in losses if fault <= each < following), float("inf"))
        found += [each - fault for each in starts if lost < each < following][:1]
    return found


def again(changes: Iterable[Change]) -> list[float]:
    """Return the seconds from the moment at which a revision was taken from its holder until it begins again."""
    found = []
    freed: Change | None = None
    for change in changes:
        if change.before == "processing" and change.after == "pending":
            freed = change
        elif _begins(change) and freed is not None and freed.revision == change.revision:
            found.append(change.at - freed.at)
    return found
