"""The process that becomes the server, and the minder that runs one for commands.

Owns the daemon's and the minder's side of the two locks, and stopping. Does not connect. Invariant: who runs or makes a
server holds `server.lock`; a minder stops its server only with `users.lock` exclusive (or when told by a signal).
"""

import fcntl
import os
import select
import signal
import sys
import time
from datetime import timedelta
from types import FrameType

from workerpool.store.embedded import account, cluster
from workerpool.store.embedded.locks import STEP, grab, serving, share, using
from workerpool.store.embedded.place import Server, make_root, make_socket_dir

FAST_LIMIT = timedelta(seconds=30)
HARD_LIMIT = timedelta(seconds=10)
STOP_LIMIT = FAST_LIMIT + 2 * HARD_LIMIT
ORPHAN_POLL = timedelta(milliseconds=200)


def serve(server: Server, parent: int) -> None:
    """Become the server, as a direct child of the daemon `parent`; stands by while a command's server runs."""
    account.die_with(parent)
    # A terminal's Ctrl-C and a supervisor's group signals are for the manager, which stops the server last.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    lock = take_over(server)
    exec_server(server, lock, parent)


def leave(_signal: int, _frame: FrameType | None) -> None:
    """End a launcher that is not the server yet: there is nothing to stop."""
    os._exit(0)


def take_over(server: Server) -> int:
    """Return the descriptor of `server.lock`, taken; until then keeps the server of commands alive for the daemon."""
    lock, users = serving(server), using(server)
    if not grab(lock, fcntl.LOCK_EX):
        if grab(users, fcntl.LOCK_EX):
            stop_orphan(server)
            fcntl.flock(users, fcntl.LOCK_UN)
        share(users, server, STOP_LIMIT)
        if not grab(lock, fcntl.LOCK_EX):
            sys.stderr.write("embedded PostgreSQL: a command's server runs and is used; standing by\n")
            sys.stderr.flush()
            while not grab(lock, fcntl.LOCK_EX):
                time.sleep(STEP.total_seconds())
    os.close(users)
    return lock


def exec_server(server: Server, lock: int, parent: int) -> None:
    """Make the data ready and replace this process by `postgres`, which inherits `server.lock`.

    Everything that depends on who we are is asked before the identity changes: in a user namespace files seem to belong
    to somebody else.
    """
    make_root(server)
    command, socket_dir = server.command(), server.socket_dir
    who = account.choose(server)
    living = cluster.postmaster(server)
    if living is not None:
        raise cluster.AlreadyServed(server.data, living)
    make_socket_dir(socket_dir, os.geteuid() if who.kind == "namespace" else who.uid)
    account.hand_over(who, server)
    account.become(who)
    account.die_with(parent)
    cluster.prepare(server, who.peers, lock)
    cluster.sweep(server, socket_dir)
    os.set_inheritable(lock, True)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir("/")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    os.execve(command[0], command, clean)  # noqa: S606 - no shell is the point


def mind(server: Server, lock: int) -> int:
    """Run the server for commands until none is left, and return an exit code; `lock` is `server.lock`, taken.

    The calling process returns at once; its child is the minder.
    """
    if os.fork() != 0:
        return os.EX_OK
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: told.append(got))
    users = using(server)
    minder = os.getpid()
    child = os.fork()
    if child == 0:
        child_of_minder(server, lock, minder)
    # Only the server and its backends hold the lock: a minder that hangs must not keep others from serving.
    os.close(lock)
    pidfd = os.pidfd_open(child)
    while not ended(pidfd, ORPHAN_POLL):
        if told or grab(users, fcntl.LOCK_EX):
            stop(pidfd)
    _pid, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if not told else 0


def child_of_minder(server: Server, lock: int, minder: int) -> None:
    """Become the server in the minder's (single-threaded) child; never returns."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        account.die_with(minder)
        exec_server(server, lock, minder)
    except Exception as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
    os._exit(os.EX_CONFIG)


def stop_orphan(server: Server) -> None:
    """Stop a server that nobody uses any more (its minder or daemon was killed); the caller has `users.lock` alone."""
    pid = cluster.postmaster(server)
    if pid is None:
        return
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if cluster.postmaster(server) == pid:
            stop(pidfd)
    finally:
        os.close(pidfd)


def stop(pidfd: int) -> None:
    """Stop a server: fast, at the deadline at once, at the last by force."""
    for number, limit in (
        (signal.SIGINT, FAST_LIMIT),
        (signal.SIGQUIT, HARD_LIMIT),
        (signal.SIGKILL, HARD_LIMIT),
    ):
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return
        if ended(pidfd, limit):
            return


def ended(pidfd: int, limit: timedelta) -> bool:
    """Wait at most `limit` for a process to end and say whether it has."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(limit.total_seconds() * 1000))
