"""The PostgreSQL that workerpool brings itself: a server on a socket inside one home.

Owns the data, the socket directory and the two locks under `HOME/postgres`, and who may start and stop the server.
Does not own tables (migrations do) nor a server of the operator's own. Invariant: at most one server runs on the data,
and it never outlives all who use it, whoever is killed with whatever signal.

Two flocks say everything, and the kernel gives them back when a process dies:

- `server.lock`, exclusive: a server runs on this data or is being made. The descriptor is inherited by `postgres` and
  its backends, so it becomes free when the last of them is gone, not earlier.
- `users.lock`, shared: somebody who did not bring the server himself uses it.

A **command** (`running`) holds `users.lock` shared for its length. When `server.lock` is free it starts a *minder*, a
small process in its own session that runs `postgres` as its child and stops it once it gets `users.lock` exclusively:
when the last user has left or was killed. The command that started it may leave first; nobody else notices.

A **daemon** runs `Server.argv()` as its direct child. That launcher takes `server.lock`, makes the data if there is
none and becomes `postgres` by exec, so the pid is the server's and a signal reaches it. When commands already use a
minder's server, the launcher stands by with `users.lock` shared: the daemon works on the server that runs, which stays
up for it, and the launcher becomes the server itself as soon as the other ends. A server without any user (left by a
kill in an unlucky instant) is stopped first. The daemon's server ends with the daemon, also under a command.

Sockets live in the home when the path fits into 107 bytes: a daemon with a private /tmp and a user who logs out (who
loses $XDG_RUNTIME_DIR) then still meet. Only a longer path goes to /tmp.

Nothing here imports psycopg before a connection is wanted, so the manager's process stays small.
"""

from workerpool.store.embedded.place import HomeRefused, Server, SocketFolderRefused
from workerpool.store.embedded.programs import BinariesMissing, binaries, major, program
from workerpool.store.embedded.sharing import LockTimeout, NotReady, StartFailed, Unusable, check, ready, running

__all__ = [
    "BinariesMissing",
    "HomeRefused",
    "LockTimeout",
    "NotReady",
    "Server",
    "SocketFolderRefused",
    "StartFailed",
    "Unusable",
    "binaries",
    "check",
    "major",
    "program",
    "ready",
    "running",
]
