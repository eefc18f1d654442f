"""The entry of the keeper: ``python -m workerpool.keeper``, started by the manager only."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import setproctitle

from workerpool import logs
from workerpool.core.briefs import KeeperBrief, from_message
from workerpool.keeper.loop import Keeper, end_with_manager
from workerpool.link.board import Board
from workerpool.link.channel import Channel
from workerpool.link.tether import outlive


def main() -> int:
    """Be the keeper until the manager stops or is gone; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        # The manager speaks over the channel; the end of the channel is its death.
        signal.signal(number, signal.SIG_IGN)
    channel, board = Channel.inherited(), Board.inherited()
    message = channel.brief()
    if message is None:
        return 0
    brief = from_message(KeeperBrief, message)
    logs.configure(brief.log_level, brief.log_format, file=Path(brief.log_file) if brief.log_file else None)  # type: ignore[arg-type]
    setproctitle.setproctitle("workerpool: keeper")
    # A database that hangs keeps the loop from its channel; the manager's death must be seen all the same.
    outlive(os.getppid(), lambda: os._exit(end_with_manager(brief.run_id)))
    channel.send("ready")
    return Keeper(brief, channel, board).run()


if __name__ == "__main__":
    code = main()
    logs.flush()
    os._exit(code)
