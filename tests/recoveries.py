"""What tests measured of recoveries, and the table of it with which a run ends.

A recovery takes from a fault until what the dead held is free again: settled, given back or rescued; where nothing is
held, until something begins again. A test asks for the fixture ``recoveries`` and notes what it measured. The process
that was started as pytest gathers it from all of its processes, prints it before the summary, and writes the table to
the file that WORKERPOOL_TEST_RECOVERIES names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

FILE = "WORKERPOOL_TEST_RECOVERIES"
HEAD = (
    "| test | seed | fault | rounds | recoveries | p50 | p99 | promised |",
    "|---|---|---|---|---|---|---|---|",
)


class Recoveries:
    """What one test measured."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.lines: list[str] = []

    def note(self, fault: str, seconds: Iterable[float], rounds: int, promised: float | None = None) -> None:
        """Note how long the recoveries from so many rounds of a fault took; *promised* is said beside them."""
        took = sorted(seconds)
        self.rows.append([fault, rounds, len(took), part(took, 0.5), part(took, 0.99), promised])

    def say(self, line: str) -> None:
        """Have a line printed at the end of the run, whether the test passes or not."""
        print(line)
        self.lines.append(line)


def part(values: list[float], share: float) -> float:
    """The value below which this share of sorted values lies; 0 where there are none."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


@pytest.fixture
def recoveries(request: pytest.FixtureRequest) -> Iterator[Recoveries]:
    """Where a test notes what it measured."""
    made = Recoveries()
    yield made
    request.node.user_properties += [("recovery", row) for row in made.rows] + [("said", each) for each in made.lines]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and what tests had to say; pytest's own summary follows."""
    told = sorted(_told(terminalreporter), key=lambda each: each[0])
    table = [line for test, properties in told for line in _rows(test, properties)]
    said = [(test, value) for test, properties in told for name, value in properties if name == "said"]
    if table:
        terminalreporter.section("recoveries, in seconds")
        for line in (*HEAD, *table):
            terminalreporter.write_line(line)
        if path := os.environ.get(FILE):
            Path(path).write_text("".join(f"{line}\n" for line in (*HEAD, *table)))
    if said:
        terminalreporter.section("what tests have to say")
        for test, line in said:
            terminalreporter.write_line(f"{test}: {line}")


def _told(reporter: pytest.TerminalReporter) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    for reports in reporter.stats.values():
        for report in reports:
            # (the last report of a test has what its fixtures added when it was over)
            if getattr(report, "when", None) == "teardown" and report.user_properties:
                yield report.nodeid, report.user_properties


def _rows(test: str, properties: list[tuple[str, Any]]) -> Iterator[str]:
    seed = next((value for name, value in properties if name == "seed"), "")
    for name, value in properties:
        if name == "recovery":
            fault, rounds, many, half, most, promised = value
            took = f"{half:.2f} | {most:.2f}" if many else "- | -"
            yield f"| {test} | {seed} | {fault} | {rounds} | {many} | {took} | {promised or '-'} |"
