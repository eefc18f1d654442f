"""What tests measured of recoveries, in lines with which a run ends: ``recovery F03 … n=20 p50=0.51 p99=1.02 …``.

A recovery takes from a fault until what the dead held is free again: settled, given back or rescued; where nothing is
held, until something begins again. A test asks for the fixture ``recoveries`` and notes what it measured. The process
that was started as pytest gathers it from all of its processes and prints it before its own summary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import pytest


class Recoveries:
    """What one test measured."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str, seconds: Iterable[float], promised: float | None = None) -> None:
        """Note how long recoveries took; *what*: the row of docs/faults.md and the fault; *promised* is said beside."""
        took = sorted(seconds)
        of = f" promised={promised:.1f}" if promised is not None else ""
        self.say(f"recovery {what} n={len(took)} p50={part(took, 0.5):.2f} p99={part(took, 0.99):.2f}{of}")

    def say(self, line: str) -> None:
        """Have a line printed at the end of the run, whether the test passes or not."""
        self.lines.append(line)


def part(values: list[float], share: float) -> float:
    """The value below which this share of sorted values lies; 0 where there are none."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


@pytest.fixture
def recoveries(request: pytest.FixtureRequest) -> Iterator[Recoveries]:
    """Where a test notes what it measured."""
    made = Recoveries()
    yield made
    request.node.user_properties += [("recovery", line) for line in made.lines]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines of all tests; pytest's own summary follows."""
    told = sorted(_told(terminalreporter))
    if told:
        terminalreporter.section("recoveries, in seconds")
    for test, _, line in told:
        terminalreporter.write_line(f"{line} ({test})")


def _told(reporter: pytest.TerminalReporter) -> Iterator[tuple[str, int, str]]:
    for reports in reporter.stats.values():
        for report in reports:
            # (the last report of a test has what its fixtures added when it was over)
            if getattr(report, "when", None) == "teardown":
                for number, (name, line) in enumerate(report.user_properties):
                    if name == "recovery":
                        yield report.nodeid, number, line
