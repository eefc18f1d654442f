"""What a worker holds: claims not yet started, outcomes not yet written.

Owns: the change of a claim from held to started or to given back, under one lock (R23).
Invariant: each claim is in exactly one place: held, running, done, under way to the database, or gone from here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

from workerpool.core.outcome import Outcome, released
from workerpool.core.revision import Claim


class Hand:
    """The claims and outcomes of one worker; safe from its two threads."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._held: deque[Claim] = deque()
        self._done: list[Outcome] = []
        self._under_way: list[Outcome] = []
        self._running: Claim | None = None
        self.written: Callable[[Sequence[Outcome]], object] = lambda _: None
        """Told of the outcomes that the database has acknowledged; whoever remembers them puts its own here."""

    def take_in(self, claims: Sequence[Claim]) -> None:
        """Hold what was claimed."""
        with self.lock:
            self._held.extend(claims)

    def start_next(self, begin: Callable[[Claim], None]) -> Claim | None:
        """Change the first held claim to running, calling *begin* inside the lock; None where nothing is held."""
        with self.lock:
            if not self._held:
                return None
            self._running = claim = self._held.popleft()
            begin(claim)
            return claim

    def finish(self, outcome: Outcome) -> None:
        """The running claim has this outcome."""
        with self.lock:
            self._running = None
            self._done.append(outcome)

    def forget_running(self) -> None:
        """The claim that was about to start is not ours any more."""
        with self.lock:
            self._running = None

    def give_back(self, which: Callable[[Claim], bool] = lambda _: True) -> int:
        """Turn everything held, or *which* of it, into outcomes that release it; returns how many."""
        with self.lock:
            given = [claim for claim in self._held if which(claim)]
            self._done.extend(released(claim.revision_id, claim.token) for claim in given)
            self._held = deque(claim for claim in self._held if claim not in given)
            return len(given)

    def forget_held(self, kept: frozenset[int]) -> None:
        """Drop held claims that the database no longer knows as ours."""
        with self.lock:
            self._held = deque(claim for claim in self._held if claim.revision_id in kept)

    def send_off(self, most: int) -> list[Outcome]:
        """Return up to *most* outcomes; they are under way until ``arrived`` or ``came_back``."""
        with self.lock:
            assert not self._under_way, "one turn at a time"
            self._under_way, self._done = self._done[:most], self._done[most:]
            return list(self._under_way)

    def arrived(self) -> list[Outcome]:
        """What was under way has been answered; returns it."""
        with self.lock:
            sent, self._under_way = self._under_way, []
            return sent

    def came_back(self) -> None:
        """What was under way may not have been written: it is to be settled again."""
        with self.lock:
            self._done, self._under_way = self._under_way + self._done, []

    def drop(self, revisions: frozenset[int]) -> None:
        """Forget the outcomes of *revisions*: they were written, or their claims are lost."""
        with self.lock:
            self._done = [outcome for outcome in self._done if outcome.revision_id not in revisions]

    def replace(self, outcome: Outcome) -> None:
        """Put *outcome* in place of the one for the same revision."""
        with self.lock:
            self._done = [outcome if each.revision_id == outcome.revision_id else each for each in self._done]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing here has to be written or given back."""
        with self.lock:
            return not (self._held or self._done or self._under_way or self._running)

    @property
    def held(self) -> tuple[Claim, ...]:
        """The claims not yet started."""
        with self.lock:
            return tuple(self._held)

    @property
    def done(self) -> tuple[Outcome, ...]:
        """The outcomes not yet sent."""
        with self.lock:
            return tuple(self._done)

    @property
    def running(self) -> Claim | None:
        """The claim whose handler runs."""
        return self._running

    def knows(self, revision_id: int, token: UUID) -> bool:
        """Tell whether this claim is held, running, or done here."""
        with self.lock:
            running = (self._running,) if self._running else ()
            claims = {(each.revision_id, each.token) for each in (*self._held, *running)}
            return (revision_id, token) in claims | {(each.revision_id, each.token) for each in self._done}
