"""Whose identity the server has: PostgreSQL refuses to run as root, and root must not have to add a user for it.

Owns the choice and the change of identity. Does not touch data. Invariant: after `become` this process and its children
are not root, and nobody but the home's owner and root is among the server's `peers`.

An ordinary user stays what it is. Root enters a user namespace in which it is an ordinary user without powers; outside
its files still belong to root. The uid it gets there must not be the overflow uid (`nobody`): the kernel shows *every*
user from outside under that one, so peer authentication could not tell root from a stranger. Where the kernel refuses
namespaces root takes a system user's identity. Data that belongs to an ordinary user is always run as that user.

The three system calls are made directly: util-linux's `unshare` knows `--map-user` only since 2.36.
"""

import ctypes
import os
import pwd
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workerpool.store.embedded import programs
from workerpool.store.embedded.place import Server, give, owner_of

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
SYSTEM_USERS = ("postgres", "nobody")
INNER_USERS = ("daemon", "bin", "postgres", "www-data")


class NoAccount(Exception):
    """There is no identity under which the server could run here."""

    def __init__(self, server: Server, tried: list[str]) -> None:
        self.server, self.tried = server, tried
        super().__init__(
            "no identity to run the embedded PostgreSQL under: "
            + "; ".join(tried)
            + ". Run workerpool as an ordinary user that owns WORKERPOOL_HOME, or set WORKERPOOL_DATABASE_URL"
        )


@dataclass(frozen=True, slots=True)
class Account:
    """An identity: the uid and gid to get, how, and the names under which PostgreSQL sees its rightful clients."""

    kind: Literal["own", "namespace", "system"]
    uid: int
    gid: int
    peers: tuple[str, ...]

    def says(self) -> str:
        """Return the identity in words for an operator."""
        name = name_of(self.uid) or str(self.uid)
        return {
            "own": f"as {name}",
            "namespace": f"as root without powers (shown as {name} in a user namespace)",
            "system": f"as the system user {name}",
        }[self.kind]


def choose(server: Server) -> Account:
    """Return the first identity with which the server can run on this home; raises NoAccount."""
    tried: list[str] = []
    for account in candidates(server):
        why = refusal(account, server)
        if why is None:
            return account
        tried.append(f"{account.says()}: {why}")
    raise NoAccount(server, tried or ["this user has no name in the system's user list"])


def candidates(server: Server) -> Iterator[Account]:
    """Yield the identities that make sense for this process and home, best first."""
    uid = os.geteuid()
    names = tuple(name for name in (name_of(uid), "root") if name)
    if uid != 0 and name_of(uid):
        yield Account("own", uid, os.getegid(), tuple(dict.fromkeys(names)))
        return
    holder = owner_of(server.data, server.root, server.home)
    if uid == 0 and holder != 0:
        yield from named(holder)
        return
    inner = inner_user()
    if inner is not None:
        yield Account("namespace", inner.pw_uid, inner.pw_gid, (inner.pw_name,))
    if uid == 0:
        yield from named(server.home.parent.stat().st_uid)
        for name in SYSTEM_USERS:
            try:
                yield from named(pwd.getpwnam(name).pw_uid)
            except KeyError:
                continue


def named(uid: int) -> Iterator[Account]:
    """Yield the identity of a user that is in the user list and is not root."""
    name = name_of(uid)
    if uid != 0 and name:
        yield Account("system", uid, pwd.getpwuid(uid).pw_gid, (name, "root"))


def inner_user() -> pwd.struct_passwd | None:
    """Return a user to be inside a namespace: one with a name, which neither root nor the overflow uid has."""
    overflow = int(Path("/proc/sys/fs/overflowuid").read_text()) if sys.platform == "linux" else 65534
    usable = [entry for entry in pwd.getpwall() if entry.pw_uid not in (0, overflow)]
    usable.sort(key=lambda entry: (entry.pw_name not in INNER_USERS, entry.pw_uid))
    return usable[0] if usable else None


def name_of(uid: int) -> str | None:
    """Return a user's name, None for one that is not in the user list."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def refusal(account: Account, server: Server) -> str | None:
    """Try an identity in a short-lived child of this (single-threaded) process and return why it will not do."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        said = ""
        try:
            become(account)
            said = unreachable(account, server)
        except BaseException as error:
            said = f"{error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said or None


def unreachable(account: Account, server: Server) -> str:
    """Return what this identity cannot reach, empty when it reaches the programs and the home."""
    postgres = programs.program("postgres", server.folder)
    for path in (*reversed(postgres.parents), postgres):
        if not os.access(path, os.X_OK, effective_ids=True):
            return f"it cannot enter {path}"
    # A system user is let into the home by `hand_over`, not yet now.
    last = server.home.parent if account.kind == "system" else server.root
    for path in (*reversed(last.parents), last):
        if not os.access(path, os.X_OK, effective_ids=True):
            return f"it cannot enter {path}"
    return ""


def hand_over(account: Account, server: Server) -> None:
    """Give the server's folder to a system user and let it pass through the home; nothing for other identities."""
    if account.kind != "system":
        return
    home = server.home.stat()
    if home.st_uid != account.uid:
        server.home.chmod(stat.S_IMODE(home.st_mode) | 0o011)
    if server.root.stat().st_uid == account.uid:
        return
    for folder, _folders, files in os.walk(server.root, topdown=False):
        for name in files:
            give(Path(folder, name), account.uid)
        give(Path(folder), account.uid)


def become(account: Account) -> None:
    """Change this process's identity for good; raises OSError where the kernel refuses."""
    if account.kind == "system":
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    elif account.kind == "namespace":
        uid, gid = os.geteuid(), os.getegid()
        call("unshare", CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{account.uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{account.gid} {gid} 1")


def die_with(parent: int) -> None:
    """Have the kernel end this process (and the program it becomes) with its parent; ends now if that is gone."""
    if sys.platform == "linux":
        call("prctl", PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def call(name: str, *arguments: int) -> None:
    """Make a system call that Python does not offer; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
