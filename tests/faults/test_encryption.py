"""S28: a connection to a database on another host without TLS is warned of; one that stays on this host is not.

The other host is a network namespace (tests/faults/hosts.py): for it the server's address is somebody else's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults.cluster import Pair
from tests.faults.hosts import Host, Network, missing
from tests.process.daemon import Daemon
from workerpool.store.embedded import Server

#: The wheel's server has no TLS; Debian's has.
WITH_TLS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
ENCRYPTED = (
    "SELECT bool_and(s.ssl) AS all FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE client_addr IS NOT NULL"
)
SUBJECT = ("-days", "2", "-nodes", "-subj", "/CN=database")
elsewhere = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
tls = pytest.mark.skipif(
    not WITH_TLS or shutil.which("openssl") is None,
    reason="PostgreSQL with TLS, or openssl, is missing (Debian: apt-get install postgresql openssl)",
)


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    """A network with PostgreSQL: the usual one, or one that can speak TLS."""
    made = Network()
    if request.param == "tls":
        facts = made.server._facts
        made.server._facts = Server(facts.home, folder=WITH_TLS[-1].parent, settings=facts.settings)
    try:
        yield made.start()
    finally:
        made.remove()


def doctor(host: Host) -> str:
    """What doctor says on a host."""
    there = ["ip", "netns", "exec", host.network.namespace(host.name), sys.executable, "-m", "workerpool", "doctor"]
    done = subprocess.run(there, env=host.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@elsewhere
@pytest.mark.parametrize("network", ["plain"], indirect=True)
def test_a_plain_connection_to_another_host_is_warned_of(network: Network, tmp_path: Path) -> None:
    """Once in the log at each start, and by doctor, each with what to do; the pool works all the same."""
    host = Host(network, "far", network.database(), tmp_path)
    try:
        for number in (1, 2):
            host.start()
            told = host.events("database.exposed")
            assert [(each["host"], each["level"]) for each in told] == [(network.address, "warning")] * number
            assert "sslmode=verify-full" in told[-1]["hint"]
            assert host.stop() == 0
        said = doctor(host)
        assert f"warning  encryption: the connection to {network.address} is not encrypted" in said
        assert "sslmode=verify-full" in said
        assert "may do what is needed" in said
    finally:
        host.clear()


@elsewhere
@tls
@pytest.mark.parametrize("network", ["tls"], indirect=True)
def test_a_connection_with_tls_is_not(network: Network, tmp_path: Path) -> None:
    """Neither in the log nor by doctor, where the certificate is checked and where it is not."""
    key, certificate = network.server.home / "key.pem", network.server.home / "certificate.pem"
    names = ("-addext", f"subjectAltName=IP:{network.address}")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", key, "-out", certificate, *SUBJECT, *names]
    subprocess.run(make, check=True, capture_output=True)
    key.chmod(0o600)
    certificate.chmod(0o644)
    with psycopg.connect(network.server.admin, autocommit=True) as connection:
        for name, value in {"ssl_key_file": key, "ssl_cert_file": certificate, "ssl": "on"}.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        connection.execute("SELECT pg_reload_conf()")
    checked, unchecked = f"sslmode=verify-full&sslrootcert={certificate}", "sslmode=require"
    for name, options in {"checked": checked, "unchecked": unchecked}.items():
        host = Host(network, name, network.database(), tmp_path, options=options)
        try:
            host.start()
            assert not host.events("database.exposed")
            assert host.sql(ENCRYPTED) == [{"all": True}]
            assert "encryption" not in doctor(host)
            assert host.stop() == 0
        finally:
            host.clear()


def test_a_plain_connection_that_stays_on_this_host_is_not(tmp_path: Path) -> None:
    """TCP to this host itself, by the loopback address and a name for it: nobody else sees it."""
    pair, daemon = Pair(synchronous=False), Daemon(None, tmp_path)
    try:
        pair.start_primary()
        for host in ("127.0.0.1", "localhost"):
            daemon.url = pair.primary.url.replace("127.0.0.1", host)
            daemon.start()
            assert daemon.stop() == 0
        assert len(daemon.events("prepare.finished")) == 2
        assert not daemon.events("database.exposed")
    finally:
        daemon.clear()
        pair.remove()
