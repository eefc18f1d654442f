"""A worker on a machine without access to the database: the same handlers, over HTTP.

``RemoteWorker`` in a program of one's own, or ``python -m workerpool.remote``. ``server`` speaks, ``worker`` claims,
``attempt`` looks after the handler that runs, ``desk`` is what the job writes on, ``verdict`` says what became of it.

One process performs one revision at a time: the handler on a thread of its own, while the main thread sends heartbeats.
A process for each attempt was rejected: it would need a second way for everything a job says, and what it is for,
ending a handler that does not listen, is had by ending this process, which a supervisor starts again.
Invariant: nothing is written for an attempt whose claim is lost, and nothing here needs the database's driver.
"""

from workerpool.remote.attempt import HandlerStuck
from workerpool.remote.server import Refused
from workerpool.remote.worker import RemoteWorker

__all__ = ["HandlerStuck", "Refused", "RemoteWorker"]
