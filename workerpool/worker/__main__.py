"""The entry of a worker process: ``python -m workerpool.worker``, started by the manager only.

Invariant: it says ``ready`` when it is connected, registered and has its handlers, and claims nothing before.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import traceback
from functools import cache
from pathlib import Path

import setproctitle

from workerpool import logs
from workerpool.core.briefs import WorkerBrief, from_message
from workerpool.handlers import builtin, registry
from workerpool.job.continuations import wait_for_callbacks
from workerpool.link import tether
from workerpool.link.board import Board, Record
from workerpool.link.channel import Channel
from workerpool.link.failpoints import reach
from workerpool.store.connection import read_ahead
from workerpool.store.effects import Effects
from workerpool.store.line import Line, LineLost, StatementRefused
from workerpool.worker import presence
from workerpool.worker.attendant import EXIT_ABORTED, Attendant
from workerpool.worker.desk import WorkerDesk
from workerpool.worker.footing import Footing
from workerpool.worker.hand import Hand
from workerpool.worker.lapse import LapseWatch
from workerpool.worker.ledger import Ledger
from workerpool.worker.loop import Loop
from workerpool.worker.output import HandlerOutput
from workerpool.worker.perform import Performer

EXIT_HANDLERS, EXIT_CONFIG = 4, 78
#: Seconds that callbacks of finished jobs may take until this process leaves.
CALLBACKS = 1.0
log = logs.get("worker")


def main() -> int:
    """Be a worker until told to stop; returns the exit code."""
    reach("at_boot")
    wakeup = _signals()
    tether.adopt_orphans()
    tether.be_first_victim()
    channel, board = Channel.inherited(), Board.inherited()
    message = channel.brief()
    if message is None:
        return 0
    brief = from_message(WorkerBrief, message)
    descriptor = int(os.environ.pop("WORKERPOOL_LOG_DESCRIPTOR", "2"))
    # What a handler starts past Python (os.system, a library of C) inherits what this process was given to inherit.
    for each in {descriptor, brief.bell} - {2}:
        os.set_inheritable(each, False)
    stream = os.fdopen(descriptor, "w", closefd=False)
    logs.configure(brief.log_level, brief.log_format, stream, file=Path(brief.log_file) if brief.log_file else None)  # type: ignore[arg-type]
    # Not to the log: a stack is written in pieces, and would tear the lines of other processes.
    faulthandler.register(signal.SIGUSR2, file=2, all_threads=True)
    setproctitle.setproctitle(f"workerpool: worker {brief.slot} starting")
    try:
        registry.load(brief.handlers)
        registry.allow_tools(brief.agent_tools)
        builtin.add_configured(brief.command, Path(brief.commands) if brief.commands else None)
    except registry.HandlerModuleBroken as error:
        channel.send("broken", why=str(error), traceback="".join(traceback.format_exception(error.__cause__))[-20_000:])
        return EXIT_HANDLERS
    except ValueError as error:
        channel.send("broken", why=str(error), traceback="")
        return EXIT_CONFIG
    if brief.slot == "check":
        return 0
    return _work(brief, channel, board, wakeup)


def _work(brief: WorkerBrief, channel: Channel, board: Board, wakeup: int) -> int:
    line = Line(brief.url, brief.schema, f"worker {brief.slot}", board.origin)
    effects = Effects(brief.url, brief.schema, brief.worker_id, brief.lease, board.origin)
    specs, hand, desk = registry.known(), Hand(), WorkerDesk(line, brief.lease, effects, Path(brief.home).absolute())
    ledger = Ledger(brief.worker_id)
    line.met, hand.written, desk.written = ledger.meet, ledger.note, ledger.note
    handlers = tuple(sorted(specs))
    read_ahead(presence.STATEMENTS, brief.schema)  # handlers may keep every descriptor that there is
    if not _connect(line, brief, handlers, channel, wakeup):
        return 0
    performer = Performer(specs, desk, brief.max_crashes, Footing(brief.bell))
    attendant = Attendant(brief, channel, board, line, desk, wakeup)
    record = Record(board, brief.board_slot)
    first_round = cache(lambda: channel.send("round"))
    loop = Loop(brief, line, hand, desk, performer, record, handlers, attendant.poke, first_round)
    performer.outputs = (
        HandlerOutput(1, "info", lambda: performer.job),
        HandlerOutput(2, "warning", lambda: performer.job),
    )
    sys.stdout, sys.stderr = performer.outputs
    attendant.loop, attendant.lapse = loop, LapseWatch(brief, board, loop, attendant.step_down)
    attendant.start()
    reach("before_ready")
    channel.send("ready", handlers=handlers, watched=any(spec.memory_limit for spec in specs.values()))
    setproctitle.setproctitle(f"workerpool: worker {brief.slot}")
    try:
        loop.run()
    except LineLost:
        channel.send("leaving", why="stop")
        return EXIT_ABORTED
    return 0


def _connect(line: Line, brief: WorkerBrief, handlers: tuple[str, ...], channel: Channel, wakeup: int) -> bool:
    """Connect and register, however long the database is away; False: told to stop meanwhile."""
    wait = 0.05
    while True:
        try:
            line.open()
            presence.register(line, brief, handlers)
            return True
        except (LineLost, StatementRefused) as error:
            log.warning("database.waited", error=str(error).strip())
            channel.send("waiting")
        ready, _, _ = select.select([channel.fileno(), wakeup], [], [], wait)
        if ready:
            return False  # whatever was said to a worker that has not begun, it says to leave
        wait = min(2.0, wait * 2)


def _signals() -> int:
    """Let signals only write to a descriptor (FAULTS.md F51); returns its reading end."""
    faulthandler.enable()
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


if __name__ == "__main__":
    code = main()
    wait_for_callbacks(CALLBACKS)
    logs.flush()
    # Threads that a handler left behind must not keep the slot.
    os._exit(code)
