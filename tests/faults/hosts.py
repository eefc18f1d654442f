"""Several hosts on one machine, and the network between them and PostgreSQL, which can be cut without a word,
or slow.

A host is a network namespace with an address of its own on a bridge, a UTS namespace with a name of its own, and a
manager with a home of its own. PostgreSQL listens on the bridge's address, for that network only. A cut drops packets
and tells nobody: no interface goes down, nothing is refused. Namespaces are named after the pid of the tests; those of
a run that was killed are taken away by the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from tests.conftest import QUICK, Databases
from tests.process.daemon import Daemon, gone, until
from tests.process.own_server import OwnServer
from workerpool.store import migrate
from workerpool.store.embedded import Server

HANDLERS = Path(__file__).parent / "host_handlers.py"
PREFIX = "wp"
#: An Ethernet address that nobody has: what is sent there is lost.
NOWHERE = "02:00:00:00:00:99"
#: That of PostgreSQL's bridge.
OWN = "02:00:00:00:00:01"
#: Which packets are lost: all, those to PostgreSQL, or those from it.
Lost = Literal["both", "requests", "answers"]


@cache
def missing() -> str:
    """Return what these tests need and do not have; empty: nothing.

    What is made to find out is named after this process: others may look at the same moment, and what one that was
    killed left behind is known.
    """
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "unshare", "hostname"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    clear_leftovers()
    bridge, space = f"{PREFIX}q{os.getpid()}", f"{PREFIX}{os.getpid()}probe"
    if why := _refused("link", "add", bridge, "type", "bridge"):
        return f"a bridge cannot be made: {why}"
    _refused("link", "delete", bridge)
    if why := _refused("netns", "add", space):
        return f"a network namespace cannot be made: {why}"
    _refused("netns", "delete", space)
    return ""


def _refused(*words: str) -> str:
    made = subprocess.run(["ip", *words], capture_output=True, text=True)
    return made.stderr.strip() or f"ip ended with {made.returncode}" if made.returncode != 0 else ""


@cache
def can_slow_down() -> bool:
    """Tell whether the network can be made slow too: that needs `tc` and a kernel with a token bucket."""
    if missing() or shutil.which("tc") is None:
        return False
    space = f"{PREFIX}{os.getpid()}slow"
    ip("netns", "add", space)
    try:
        tried = ["tc", "-n", space, "qdisc", "add", "dev", "lo", "root", *bucket(64)]
        return subprocess.run(tried, capture_output=True).returncode == 0
    finally:
        ip("netns", "delete", space)


def bucket(kilobits: int) -> list[str]:
    """Return the words for a link of so many kilobits a second; what waits longer than 400 ms is lost."""
    return f"tbf rate {kilobits}kbit burst 4kb latency 400ms".split()


def tc(*words: str, inside: str | None = None, check: bool = True) -> None:
    """Run `tc qdisc`, in the namespace *inside* or in ours."""
    command = ["tc", *(["-n", inside] if inside else []), "qdisc", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr.strip()}"


def ip(*words: str, inside: str | None = None, check: bool = True) -> str:
    """Run `ip`, in the namespace *inside* or in ours."""
    command = ["ip", *(["-n", inside] if inside else []), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


def clear_leftovers() -> None:
    """Take away the namespaces, with their links, and the bridges of test runs that are not alive any more."""
    for name in re.findall(rf"^{PREFIX}(\d+)(\w+)", ip("netns", "list", check=False), re.MULTILINE):
        if gone(int(name[0])):
            ip("netns", "delete", f"{PREFIX}{name[0]}{name[1]}", check=False)
    bridges = ip("-o", "link", "show", "type", "bridge", check=False)
    for name, pid in re.findall(rf"^\d+: ({PREFIX}[bq](\d+)):", bridges, re.MULTILINE):
        if gone(int(pid)):
            ip("link", "delete", name, check=False)


class Network:
    """A bridge with PostgreSQL on it."""

    def __init__(self) -> None:
        clear_leftovers()
        self.bridge = f"{PREFIX}b{os.getpid()}"
        self.net = self._take_a_net()
        self.address = f"{self.net}.1"
        self._hosts: dict[str, int] = {}
        self.server = OwnServer()
        rules = self.server.home / "hba.conf"
        rules.write_text(f"local all all peer map=workerpool\nhost all all {self.net}.0/24 trust\n")
        rules.chmod(0o644)
        listening = (("listen_addresses", self.address), ("hba_file", str(rules)))
        self.server._facts = Server(self.server.home, folder=self.server._facts.folder, settings=QUICK + listening)

    def _take_a_net(self) -> str:
        # (with a hardware address of its own: else it has that of a host, another one when that host is cut off, and
        # whoever is not cut off loses it for half a minute too)
        ip(*f"link add {self.bridge} address {OWN} type bridge".split())
        used = ip("-o", "-4", "address", "show")
        # (from a place of this process's own: another one may be looking at this moment)
        nets = (f"10.213.{(os.getpid() + n) % 254 + 1}" for n in range(254))
        net = next(each for each in nets if f" {each}." not in used)
        ip("address", "add", f"{net}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return net

    def start(self) -> Network:
        """Start PostgreSQL; its own database is migrated and is the template of the others."""
        self.server.start()
        migrate.upgrade(self.server.url)
        return self

    def database(self) -> str:
        """Make a migrated database and return its name."""
        name = f"hosts_{uuid.uuid4().hex[:10]}"
        Databases(self.server.admin, self.server.url).create(name, "workerpool")
        return name

    def namespace(self, host: str) -> str:
        """Return the network namespace of *host*."""
        return f"{PREFIX}{os.getpid()}{host}"

    def join(self, host: str) -> None:
        """Give *host* a namespace and an address."""
        number = self._hosts[host] = len(self._hosts) + 2
        inside, ours, theirs = self.namespace(host), self._link(host), f"{PREFIX}p{number}"
        ip("netns", "add", inside)
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", inside)
        ip("link", "set", theirs, "name", "eth0", inside=inside)
        ip("address", "add", f"{self.net}.{number}/24", "dev", "eth0", inside=inside)
        ip("link", "set", "eth0", "up", inside=inside)
        ip("link", "set", "lo", "up", inside=inside)
        ip("link", "set", ours, "master", self.bridge, "up")

    def _link(self, host: str) -> str:
        """Our end of the link to *host*."""
        return f"{PREFIX}v{os.getpid() % 10**6}{self._hosts[host]}"

    def slow_down(self, host: str, kilobits: int) -> None:
        """From now on so much goes to *host* and from it in a second."""
        tc("replace", "dev", "eth0", "root", *bucket(kilobits), inside=self.namespace(host))
        tc("replace", "dev", self._link(host), "root", *bucket(kilobits))

    def cut(self, host: str, lost: Lost = "both") -> None:
        """From now on packets of *host* are lost, without a word."""
        number = self._hosts[host]
        match lost:
            case "both":
                ip("link", "set", self._link(host), "nomaster")
            case "requests":
                ip(
                    *f"neighbour replace {self.address} lladdr {NOWHERE} dev eth0 nud permanent".split(),
                    inside=self.namespace(host),
                )
            case "answers":
                ip(*f"neighbour replace {self.net}.{number} lladdr {NOWHERE} dev {self.bridge} nud permanent".split())

    def heal(self, host: str) -> None:
        """Let packets through again, and as fast as ever."""
        number = self._hosts[host]
        ip("link", "set", self._link(host), "master", self.bridge)
        ip("neighbour", "delete", self.address, "dev", "eth0", inside=self.namespace(host), check=False)
        ip("neighbour", "delete", f"{self.net}.{number}", "dev", self.bridge, check=False)
        if can_slow_down():
            tc("delete", "dev", "eth0", "root", inside=self.namespace(host), check=False)
            tc("delete", "dev", self._link(host), "root", check=False)

    def remove(self) -> None:
        """Take everything away; the links go with their namespaces."""
        try:
            self.server.remove()
        finally:
            for host in self._hosts:
                ip("netns", "delete", self.namespace(host), check=False)
            ip("link", "delete", self.bridge, check=False)


class Host(Daemon):
    """A manager on a host of its own; its journal is that of all hosts."""

    def __init__(self, network: Network, name: str, database: str, folder: Path, **settings: object) -> None:
        (folder / name).mkdir()
        options = settings.pop("options", "keepalives_idle=1&keepalives_interval=1&keepalives_count=2")
        plain = Databases(network.server.admin, network.server.url).url(database)
        super().__init__(plain, folder / name, **{"handlers": HANDLERS, **settings})
        self.name, self.network, self.journal = name, network, folder / "journal"
        self.far_url = f"postgresql://workerpool@{network.address}:5432/{database}?{options}"
        self.extra: dict[str, str] = {}
        if name not in network._hosts:
            network.join(name)

    def environment(self) -> dict[str, str]:
        """The same, with the database's address on the network."""
        return super().environment() | {"WORKERPOOL_DATABASE_URL": self.far_url} | self.extra

    def spawn(self, *arguments: str, group: bool = False) -> Host:
        """Start the manager on its host and return at once."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        there = ["ip", "netns", "exec", self.network.namespace(self.name), "unshare", "--uts"]
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*there, *named, sys.executable, "-m", "workerpool", "start", *arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                process_group=0 if group else None,
            )
        return self

    def everybody(self, number: signal.Signals) -> list[int]:
        """Send a signal to every process of the host; returns them."""
        pids = [self.pid, *self.others()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def running(self) -> list[int]:
        """The revisions that the database ascribes to this host just now."""
        text = "SELECT id FROM revisions WHERE status = 'processing' AND worker_id LIKE %s ORDER BY id"
        return [int(row["id"]) for row in self.sql(text, f"{self.name}/%")]

    def at_work(self, how_many: int = 1) -> list[int]:
        """Wait until so many revisions run here, each of them seen alive on this host, and return them."""

        def there() -> list[int]:
            seen = {int(each[1]) for each in self.entries("alive") if each[5] == self.name}
            found = [each for each in self.running() if each in seen]
            return found if len(found) >= how_many else []

        return until(there, what=f"{how_many} at work on {self.name}\n{self.tail()}")


@contextlib.contextmanager
def laid() -> Iterator[Network]:
    """Yield a network with PostgreSQL; nothing of it is left afterwards."""
    network = Network()
    try:
        yield network.start()
    finally:
        network.remove()


def check_no_overlap(host: Daemon, *, ghosts: bool = False) -> float:
    """No two attempts of a revision, and no two revisions of an item, were ever alive at once, on whatever hosts.

    *ghosts*: attempts that were frozen and went on may have been alive for a moment after their successor began, but
    the last attempt, whose result counts, was alive alone from its begin to its end. Returns the longest such moment.
    """
    longest = 0.0
    item_of = {row["id"]: row["item_key"] for row in host.sql("SELECT id, item_key FROM revisions")}
    lives: dict[tuple[int, int, int], list[float]] = {}
    for line in host.journal.read_text().splitlines():
        _, revision, attempt, pid, at, *_ = line.split()
        lives.setdefault((int(revision), int(attempt), int(pid)), []).append(float(at))
    before: dict[str, tuple[tuple[int, int, int], float]] = {}
    for life in sorted(lives, key=lambda each: min(lives[each])):
        item, begun, last = item_of[life[0]], min(lives[life]), max(lives[life])
        if item in before:
            other, until_then = before[item]
            assert other[0] <= life[0], f"{life} began after {other} of {item}"
            same = other[0] == life[0]
            told = f"{other} was alive {until_then - begun:.3f} s after {life} of {item} began"
            assert until_then <= begun or (ghosts and same), told
            longest = max(longest, until_then - begun)
        before[item] = (life, last)
    return longest
