"""Where one embedded server lives: its folders, its address and the command that runs it.

Owns names, paths and the checks of folders. Does not start anything. Invariant: the socket's folder is a real folder
of the server's owner with mode 0700, and its path fits into the kernel's 107 bytes; two processes with the same home
always compute the same place, whatever their environment and whoever of the owner and root they are.
"""

import hashlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from workerpool.store.embedded import programs

ROLE = "workerpool"
SUPERUSER = "postgres"
DATABASE = "workerpool"
PORT = 5432
SOCKET_BYTES = 107
SHARED_TEMPORARY = Path("/tmp")  # noqa: S108 - not tempfile.gettempdir(): it follows TMPDIR and two processes must agree


class HomeRefused(Exception):
    """The home cannot hold a server for this user."""

    def __init__(self, home: Path, why: str) -> None:
        self.home, self.why = home, why
        super().__init__(f"{home} cannot hold the embedded PostgreSQL: {why}; choose another WORKERPOOL_HOME")


class SocketFolderRefused(Exception):
    """Somebody else could stand between a client and the server."""

    def __init__(self, folder: Path, why: str) -> None:
        self.folder, self.why = folder, why
        super().__init__(f"{folder} cannot hold the database's socket: {why}; remove it and start again")


@dataclass(frozen=True, slots=True)
class Server:
    """The facts of the server of one home; `settings` are more settings, `folder` other programs than the wheel's."""

    home: Path
    schema: str = "workerpool"
    folder: Path | None = None
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", Path(os.path.realpath(self.home)))

    @property
    def root(self) -> Path:
        """The folder of everything that belongs to the server."""
        return self.home / "postgres"

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What a server that was started by a command says."""
        return self.root / "server.log"

    @property
    def socket_dir(self) -> Path:
        """The folder of the socket: in the home when the path is short enough, else in /tmp."""
        inside = self.root / "socket"
        if len(os.fsencode(inside / f".s.PGSQL.{PORT}")) <= SOCKET_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        # The home's owner, not the data's: data changes hands when root has to run it as a system user.
        return SHARED_TEMPORARY / f"workerpool-{owner_of(self.home)}-{name}"

    def url(self, role: str = ROLE, database: str = DATABASE) -> str:
        """Return the libpq URI of `database` for `role`; independent of PG* variables."""
        host = quote(os.fsencode(self.socket_dir), safe="")
        return f"postgresql:///{quote(database, safe='')}?host={host}&port={PORT}&user={quote(role, safe='')}"

    def argv(self) -> list[str]:
        """Return the command of the server, to be run as a direct child of the calling process."""
        return self.launcher("serve", "--parent", str(os.getpid()))

    def launcher(self, verb: str, *more: str) -> list[str]:
        """Return the command of this package's own program with the facts of this server."""
        words = [sys.executable, "-P", "-m", __package__, verb, "--home", str(self.home), "--schema", self.schema]
        if self.folder is not None:
            words += ["--bin", str(self.folder)]
        for name, value in self.settings:
            words += ["--set", f"{name}={value}"]
        return [*words, *more]

    def command(self) -> list[str]:
        """Return the words of `postgres` itself; what they say cannot be changed by ALTER SYSTEM."""
        socket_dir = str(self.socket_dir).replace('"', '""')
        schema = self.schema.replace('"', '""')
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{socket_dir}"',
            "unix_socket_permissions": "0700",
            "search_path": f'"$user", public, "{schema}"',
        }
        words = [str(programs.program("postgres", self.folder)), "-D", str(self.data)]
        for name, value in (fixed | dict(self.settings)).items():
            words += ["-c", f"{name}={value}"]
        return words


def owner_of(*folders: Path) -> int:
    """Return the uid that owns the first of `folders` that exists, else our own."""
    for folder in folders:
        try:
            return folder.stat().st_uid
        except FileNotFoundError:
            continue
        except PermissionError:
            break
    return os.geteuid()


def make_root(server: Server) -> None:
    """Create the home and the server's folder, both 0700; raises HomeRefused."""
    try:
        server.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        created = not server.root.exists()
        server.root.mkdir(mode=0o700, exist_ok=True)
        if created:
            give(server.root, server.home.stat().st_uid)
        facts = server.root.stat()
    except OSError as error:
        raise HomeRefused(server.home, f"{error.strerror or error} ({error.filename})") from error
    if os.geteuid() not in (0, facts.st_uid):
        raise HomeRefused(server.home, f"it belongs to uid {facts.st_uid}, and this is uid {os.geteuid()}")


def make_socket_dir(folder: Path, uid: int) -> None:
    """Create the socket's folder for `uid`, or check the one that is there; raises SocketFolderRefused."""
    try:
        folder.mkdir(mode=0o700)
        give(folder, uid)
    except FileExistsError:
        pass
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise SocketFolderRefused(folder, "it is not a folder")
    if facts.st_uid == 0 == os.geteuid() != uid:
        give(folder, uid)
    elif facts.st_uid != uid:
        raise SocketFolderRefused(folder, f"it belongs to uid {facts.st_uid}, not to {uid}")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        folder.chmod(0o700)


def give(path: Path, uid: int) -> None:
    """Hand a folder or file to `uid` when it is somebody else's; only root can, and only root needs to."""
    if os.geteuid() == 0 and path.lstat().st_uid != uid:
        os.chown(path, uid, -1, follow_symlinks=False)
