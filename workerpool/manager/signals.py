"""What each signal to the manager means; nothing is done in a signal handler.

Invariant: a signal is a byte in a pipe until the loop reads it here (FAULTS.md 4.2).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from workerpool import logs

if TYPE_CHECKING:
    from workerpool.manager.manager import Manager

log = logs.get("manager")


def obey(manager: Manager, descriptor: int) -> None:
    """Read the numbers that are there, and do what they ask for."""
    for number in os.read(descriptor, 4096):
        log.debug("signal.received", signal=signal.Signals(number).name)
        match number:
            case signal.SIGTERM:
                manager.stop()
            case signal.SIGINT:
                manager.stop(quick=manager.is_stopping)
            case signal.SIGQUIT:
                manager.stop(quick=True)
            case signal.SIGHUP:
                manager.reload()
            case signal.SIGTTIN:
                manager.resize(1)
            case signal.SIGTTOU:
                manager.resize(-1)
            case signal.SIGUSR1:
                manager.reopen_logs()
            case signal.SIGUSR2:
                manager.dump()
