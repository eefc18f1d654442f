"""However much a command writes or is given, the worker's memory stays small and nobody waits for ever."""

import os
import re
import signal

import pytest

from tests.process.command_job import Job, at_most, shell
from workerpool.handlers.command import CommandFailed, run_command


def peak_memory() -> int:
    """The most resident memory of this process since the peak was reset, in KiB."""
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])  # type: ignore[index]


@pytest.mark.parametrize(
    ("script", "left_out"),
    [
        ("yes 'a line' | head -c 1000000000", "lines left out of the log"),
        ("head -c 1000000000 /dev/zero", "bytes left out"),
        ("yes | head -c 300000000 >&2", "lines left out of the log"),
    ],
)
def test_a_gigabyte_of_output_costs_no_memory(script: str, left_out: str) -> None:
    """However much a command writes, with line ends or without, the worker keeps little and says what it left out."""
    job = Job()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = peak_memory()
    result = run_command(shell(script), job)
    assert peak_memory() - before < 40_000
    assert any(left_out in message for _, message, _ in job.log.entries)
    assert len(job.log.entries) < 600
    assert len(result["output"]) < 2 << 20
    if ">&2" not in script:
        assert result["output_bytes"] == 1_000_000_000


def test_lines_are_logged_while_it_runs() -> None:
    """A line is in the log while the command that wrote it still runs."""
    job = Job()
    job.log.on_line = lambda line: os.kill(int(line), signal.SIGTERM) if line.isdecimal() else None
    with at_most(10), pytest.raises(CommandFailed, match="SIGTERM"):
        run_command(shell("echo $$; exec sleep 1000"), job)


def test_flood_of_a_process_left_behind_does_not_hold_the_reader() -> None:
    """A background process that writes for ever does not keep the revision open."""
    with at_most(10):
        result = run_command(shell("yes & echo started"), Job())
    assert "y\n" in result["output"] or "started" in result["output"]


@pytest.mark.parametrize(
    "script", ["exec <&-; echo done", "echo done", "head -c 10 >/dev/null; echo done", "wc -c >&2; echo done"]
)
def test_large_payload_never_blocks(script: str) -> None:
    """Ten megabytes of payload hinder no command, whether it reads stdin, closes it, reads a little or nothing."""
    with at_most(20):
        assert run_command(shell(script), Job(payload={"text": "x" * 10_000_000})) == {"output": "done\n"}
