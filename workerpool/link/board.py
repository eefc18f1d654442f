"""Shared memory with one record for each slot: what runs there, readable after a kill (R22).

Owns: the layout. The worker of a slot writes its running attempt and state; the keeper writes the last accepted
renewal, what is to be cancelled, the version of the pause, and the server of the database; the manager reads.
Invariant: a record whose sequence number is odd was being changed, which only happens while no handler runs; so a
reader never takes half of one attempt for another.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from uuid import UUID

from workerpool.core.origin import Origin

#: The environment variable that holds the number of the inherited descriptor.
VARIABLE = "WORKERPOOL_BOARD"
SLOTS = 64
RECORD = 256
STATES = ("starting", "idle", "busy", "paused", "stopping")

# sequence, revision, token, claimed, deadline, attempt, max attempts, memory limit, output limit
_RUNNING = struct.Struct("<Qq16sddiiqq")
_SEQUENCE = struct.Struct("<Q")
_COUNT = struct.Struct("<Qi")  # completed, state
_FLOAT = struct.Struct("<d")
_LONG = struct.Struct("<q")
_CANCEL = struct.Struct("<q16sd")  # revision, token, asked at
_ORIGIN = struct.Struct("<qq")
_DEADLINE_AT, _COUNT_AT, _RENEWED_AT, _CANCEL_AT = 40, 80, 96, 104
#: Behind the records: the version of the pause that the keeper has seen, and the server that it works on.
_PAUSE_AT = SLOTS * RECORD
_ORIGIN_AT = _PAUSE_AT + _LONG.size
SIZE = _PAUSE_AT + RECORD


@dataclass(frozen=True, slots=True)
class Running:
    """The attempt that a slot is running; instants are monotonic, limits are bytes, 0 where there is none.

    ``claimed``: when its claim was sent, from which its lease counts.
    """

    revision_id: int
    token: UUID
    claimed: float
    deadline: float
    attempt: int
    max_attempts: int
    memory_limit: int = 0
    output_limit: int = 0

    @property
    def identity(self) -> tuple[int, UUID]:
        """Which attempt this is: the claims of one turn share their token."""
        return self.revision_id, self.token


class Board:
    """The shared memory, in any of the processes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, SIZE)

    @classmethod
    def create(cls) -> Board:
        """Make the memory; it lives as long as a process has its descriptor."""
        descriptor = os.memfd_create("workerpool-board", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, SIZE)
        return cls(descriptor)

    @classmethod
    def inherited(cls) -> Board:
        """Return the board whose descriptor the environment names; grandchildren get neither."""
        descriptor = int(os.environ.pop(VARIABLE))
        os.set_inheritable(descriptor, False)
        return cls(descriptor)

    def clear(self, slot: int) -> None:
        """Forget everything about *slot*, before a new process starts in it."""
        self._memory[slot * RECORD : (slot + 1) * RECORD] = bytes(RECORD)

    def running(self, slot: int) -> Running | None:
        """Return what runs in *slot*, or None."""
        sequence, revision, token, *facts = _RUNNING.unpack_from(self._memory, slot * RECORD)
        if sequence % 2 or revision == 0:
            return None
        return Running(revision, UUID(bytes=token), *facts)

    def counts(self, slot: int) -> tuple[int, str]:
        """Return how many the process in *slot* has completed, and its state."""
        completed, state = _COUNT.unpack_from(self._memory, slot * RECORD + _COUNT_AT)
        return completed, STATES[state]

    def pause_version(self) -> int:
        """Return the version of the pause that the keeper saw last; 0: none yet."""
        version: int = _LONG.unpack_from(self._memory, _PAUSE_AT)[0]
        return version

    def mark_pause(self, version: int) -> None:
        """Keeper: this version of the pause is in force."""
        _LONG.pack_into(self._memory, _PAUSE_AT, version)

    def origin(self) -> Origin | None:
        """Return the server that the keeper worked on last; None: none yet, or it does not say which it is."""
        system, timeline = _ORIGIN.unpack_from(self._memory, _ORIGIN_AT)
        return Origin(system, timeline) if timeline else None

    def mark_origin(self, origin: Origin) -> None:
        """Keeper: this is the server that the pool works on."""
        _ORIGIN.pack_into(self._memory, _ORIGIN_AT, origin.system, origin.timeline)

    def renewed(self, slot: int) -> float:
        """Return the monotonic instant at which the last renewal that the database accepted was sent; 0: none yet."""
        at: float = _FLOAT.unpack_from(self._memory, slot * RECORD + _RENEWED_AT)[0]
        return at

    def mark_renewed(self, slot: int, now: float) -> None:
        """Keeper: the database accepted a renewal that was sent at *now*."""
        _FLOAT.pack_into(self._memory, slot * RECORD + _RENEWED_AT, now)

    def ask_cancel(self, slot: int, running: Running, now: float) -> bool:
        """Keeper: this attempt in *slot* is to be cancelled; returns whether that is news."""
        if self.cancel_asked(slot, running):
            return False
        mark = (running.revision_id, running.token.bytes, now)
        _CANCEL.pack_into(self._memory, slot * RECORD + _CANCEL_AT, *mark)
        return True

    def cancel_asked(self, slot: int, running: Running) -> float:
        """Return the monotonic instant at which somebody wanted this attempt in *slot* cancelled; 0: nobody did."""
        revision, token, at = _CANCEL.unpack_from(self._memory, slot * RECORD + _CANCEL_AT)
        asked: float = at if revision == running.revision_id and token == running.token.bytes else 0.0
        return asked


class Record:
    """A worker's own record, written without allocation: it is written twice for each revision."""

    def __init__(self, board: Board, slot: int) -> None:
        self._memory, self._at = board._memory, slot * RECORD
        self._sequence = 0
        self._completed = 0
        self._state = 0

    def begin(
        self,
        revision_id: int,
        token: bytes,
        claimed: float,
        deadline: float,
        attempt: int,
        max_attempts: int,
        memory_limit: int = 0,
        output_limit: int = 0,
    ) -> None:
        """Say that this attempt runs from now on."""
        memory, at, sequence = self._memory, self._at, self._sequence
        _SEQUENCE.pack_into(memory, at, sequence + 1)
        _RUNNING.pack_into(
            memory,
            at,
            sequence + 1,
            revision_id,
            token,
            claimed,
            deadline,
            attempt,
            max_attempts,
            memory_limit,
            output_limit,
        )
        self._sequence = sequence + 2
        _SEQUENCE.pack_into(memory, at, self._sequence)

    def move_deadline(self, deadline: float) -> None:
        """The running attempt has this time limit from now on; 0: none."""
        _FLOAT.pack_into(self._memory, self._at + _DEADLINE_AT, deadline)

    def pause_version(self) -> int:
        """Return the version of the pause that the keeper saw last; 0: none yet."""
        version: int = _LONG.unpack_from(self._memory, _PAUSE_AT)[0]
        return version

    def end(self, *, completed: bool) -> None:
        """Say that no attempt runs."""
        memory, at = self._memory, self._at
        self._sequence += 2
        _SEQUENCE.pack_into(memory, at, self._sequence - 1)
        _LONG.pack_into(memory, at + 8, 0)
        _SEQUENCE.pack_into(memory, at, self._sequence)
        self._completed += completed
        _COUNT.pack_into(memory, at + _COUNT_AT, self._completed, self._state)

    def state(self, name: str) -> None:
        """Say in which of STATES the worker is."""
        self._state = STATES.index(name)
        _COUNT.pack_into(self._memory, self._at + _COUNT_AT, self._completed, self._state)
