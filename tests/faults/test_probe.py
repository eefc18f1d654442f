"""The question whether hosts can be made disturbs nobody who asks it at the same moment, and leaves nothing behind."""

import os
import subprocess
import sys

import pytest

from tests.faults.hosts import PREFIX, ip, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
ASK = "from tests.faults.hosts import missing; print(missing())"


def ask() -> subprocess.Popen[str]:
    """Start a process that asks what is missing."""
    return subprocess.Popen([sys.executable, "-c", ASK], stdout=subprocess.PIPE, text=True)


def mine(pid: int) -> list[str]:
    """What there is of bridges and namespaces of a process."""
    listed = ip("-o", "link", "show", "type", "bridge") + ip("netns", "list")
    return [word for word in listed.replace(":", " ").split() if word.startswith(PREFIX) and str(pid) in word]


def test_many_ask_at_once() -> None:
    """As many test processes as like may ask at the same moment: each is told that nothing is missing."""
    asking = [ask() for _ in range(6)]
    assert [each.communicate(timeout=60)[0] for each in asking] == ["\n"] * 6
    assert not any(mine(each.pid) for each in asking)


def test_what_a_killed_one_left_is_taken_away() -> None:
    """A bridge and a namespace of a probe that was killed in the middle are gone when the next one has asked."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    ip("link", "add", f"{PREFIX}q{dead.pid}", "type", "bridge")
    ip("netns", "add", f"{PREFIX}{dead.pid}probe")
    ip("link", "add", f"{PREFIX}q{os.getpid()}", "type", "bridge")  # of one that lives
    try:
        assert len(mine(dead.pid)) == 2
        assert ask().communicate(timeout=60)[0] == "\n"
        assert mine(dead.pid) == []
        assert mine(os.getpid()) == [f"{PREFIX}q{os.getpid()}"]
    finally:
        ip("link", "delete", f"{PREFIX}q{os.getpid()}")
