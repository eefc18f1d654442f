"""The results: medians over the rounds, their spread, and the ratios.

Owns: what is told, as data. Does not own: how a terminal shows it (the command line) or the pictures (``plot``).
Invariant: a ratio is the median of the ratios of the rounds, each of two figures of one round.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from workerpool.bench.catalogue import COMPARED, FLOOR, KILLED, WORKLOADS
from workerpool.bench.course import Course
from workerpool.bench.sizes import Sizes
from workerpool.bench.trend import FLAT, UNSURE, Trend

#: Suffix of a figure's name -> its unit for people.
UNITS = {
    "_mb_per_second": "MB/s",
    "per_second": "/s",
    "_per_revision": "per revision",
    "_seconds": "s",
    "_percent": "% of a core",
    "_ms": "ms",
    "_us": "µs",
    "_mb": "MB",
    "_bytes": "bytes",
}


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure over another one."""

    against: str
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a workload: its median, least and most over the rounds, and what it is compared with."""

    name: str
    value: float
    least: float
    most: float
    ratios: tuple[Ratio, ...] = ()

    @property
    def label(self) -> str:
        """What it is, in words."""
        suffix = next((suffix for suffix in UNITS if self.name.endswith(suffix)), "")
        return self.name.removesuffix(suffix).strip("_").replace("_", " ") or "rate"

    @property
    def unit(self) -> str:
        """What it is counted in."""
        return next((unit for suffix, unit in UNITS.items() if self.name.endswith(suffix)), "")


@dataclass(slots=True)
class Report:
    """Everything that one benchmark found."""

    ground: dict[str, Any]
    sizes: Sizes
    at: datetime
    kills: int = 0
    growth: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    found: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    courses: dict[str, Course] = field(default_factory=dict)

    def add(self, workload: str, figures: dict[str, float]) -> None:
        """Take the figures of one run."""
        self.found.setdefault(workload, []).append(figures)

    def figures(self, workload: str) -> list[Figure]:
        """Return the figures of a workload over its rounds."""
        rounds = self.found[workload]
        made = []
        for name in rounds[0]:
            values = [found[name] for found in rounds]
            ratios = self._ratios(workload, name)
            made.append(Figure(name, statistics.median(values), min(values), max(values), ratios))
        return made

    def _ratios(self, workload: str, name: str) -> tuple[Ratio, ...]:
        made = []
        for against in COMPARED.get((workload, name), ()):
            pairs = zip(self.found[workload], self.found.get(against.workload, []), strict=False)
            ratios = [mine[name] / other[against.figure] for mine, other in pairs if other.get(against.figure)]
            if ratios:
                made.append(Ratio(against.words, statistics.median(ratios)))
        return tuple(made)

    def as_json(self) -> dict[str, Any]:
        """Return all of it for programs."""
        workloads: dict[str, dict[str, Any]] = {
            workload: {
                "about": WORKLOADS[workload].sentence(self.sizes),
                "verified": WORKLOADS[workload].verified,
                "figures": {each.name: _for_json(each) for each in self.figures(workload)},
                "rounds": rounds,
            }
            for workload, rounds in self.found.items()
        }
        for name, course in self.courses.items():
            workloads[name]["warm_after_seconds"] = course.warm
            workloads[name]["series"] = {
                series: {
                    **_trend_for_json(series, trend),
                    "samples": [(round(at, 2), round(value, 4)) for at, value in course.series[series]],
                }
                for series, trend in course.trends().items()
            }
        growth = {
            name: [{"at": at, "per_second": value} for at, value in points] for name, points in self.growth.items()
        }
        told = {"date": self.at.isoformat(timespec="seconds"), **self.ground, "sizes": asdict(self.sizes)}
        return told | {"kills": self.kills, "workloads": workloads, "growth": growth}

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return the table: workload, figure, value, spread, ratio, and what it is a ratio to."""
        made = []
        for workload in self.found:
            for place, figure in enumerate(self.figures(workload)):
                spread = f"{_short(figure.least)} to {_short(figure.most)}" if self.sizes.rounds > 1 else ""
                value = f"{_short(figure.value)} {figure.unit}".rstrip()
                first, *others = figure.ratios or (None,)
                made.append(("" if place else workload, figure.label, value, spread, *_told(first)))
                made += [("", "", "", "", *_told(other)) for other in others]
        return made

    def trend_rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return the table of what was sampled: series, median, least to most, the change an hour, and the verdict."""
        return [
            _trend_row(Figure(name, trend.median, trend.least, trend.most), trend)
            for course in self.courses.values()
            for name, trend in course.trends().items()
        ]

    def notes(self) -> list[str]:
        """Return what has to be known beside the table."""
        versions, box = self.ground["versions"], self.ground["machine"]
        lines = [f"{name}: {WORKLOADS[name].sentence(self.sizes)}" for name in self.found]
        lines += [
            f"workerpool {versions['workerpool']}, PostgreSQL {versions['postgresql']}, Python {versions['python']}, "
            f"{versions['kernel']}, {box['cpus']} CPUs ({box['cpu']}), load before {box['load'][0]:g}",
            ", ".join(f"{name}={value}" for name, value in self.ground["settings"].items()),
        ]
        if verified := [name for name in self.found if WORKLOADS[name].verified]:
            once = "and was completed once" if self.kills else "once"
            lines.append(
                f"Verified from the rows and from the handlers' own record ({', '.join(verified)}): every revision ran "
                f"{once}, in the order of its item, never two of an item at a time."
            )
        lines += [
            f"Medians and changes are of the samples after {course.warm:,.0f} s; a change is that of a line of least "
            f"squares ± its standard error. Flat: over the run under {100 * FLAT:g} % of the median, under {UNSURE:g} "
            "standard errors, or too little to count."
            for course in self.courses.values()
        ]
        if self.kills:
            lines.append(f"{self.kills} workers were killed in {', '.join(n for n in KILLED if n in self.found)}.")
        if FLOOR in self.found and not self.found[FLOOR][0]:
            lines.append("There is no pgbench here, so nothing is compared with the floor.")
        return lines


def _trend_row(figure: Figure, trend: Trend) -> tuple[str, str, str, str, str]:
    change = f"{_signed(trend.per_hour)} ± {_short(trend.error_per_hour)} {figure.unit}".rstrip()
    if trend.change and (percent := trend.percent_per_hour) is not None:
        change += f" ({_signed(percent)} %)"
    value = f"{_short(figure.value)} {figure.unit}".rstrip()
    return figure.label, value, f"{_short(figure.least)} to {_short(figure.most)}", change, trend.verdict


def _trend_for_json(name: str, trend: Trend) -> dict[str, Any]:
    told = {"median": trend.median, "least": trend.least, "most": trend.most, "change": trend.change}
    told |= {"error": trend.error, "per_hour": trend.per_hour, "error_per_hour": trend.error_per_hour}
    percent = trend.percent_per_hour
    return {
        "unit": Figure(name, 0.0, 0.0, 0.0).unit,
        **{key: round(value, 4) for key, value in told.items()},
        "percent_per_hour": None if percent is None else round(percent, 2),
        "flat": trend.is_flat,
    }


def _told(ratio: Ratio | None) -> tuple[str, str]:
    return ("", "") if ratio is None else (f"{ratio.value:.2f}", ratio.against)


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{_short(value)}"


def _short(value: float) -> str:
    """Return a number with as many digits as say something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _for_json(figure: Figure) -> dict[str, Any]:
    told = {"value": round(figure.value, 4), "unit": figure.unit}
    told |= {"least": round(figure.least, 4), "most": round(figure.most, 4)}
    return told | {"ratios": [{"to": ratio.against, "value": round(ratio.value, 4)} for ratio in figure.ratios]}
