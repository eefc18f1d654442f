"""Pictures of the results, as SVG written by hand: bars of the ratios, and lines of what grew or was sampled.

Owns: the drawing. Invariant: each picture says its axes and its source, and is read without colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from workerpool.bench.growth import SERIES
from workerpool.bench.report import Figure, Report
from workerpool.bench.trend import Samples, Trend

WIDTH, ROW, LEFT, MARGIN = 820, 26, 420, 40
HEIGHT, BOTTOM = 360, 60
INK, BAR = "#1f2933", "#3b6ea5"


def write(report: Report, folder: Path) -> list[Path]:
    """Write the pictures into *folder*, and return their paths."""
    box, versions = report.ground["machine"], report.ground["versions"]
    source = f"{report.at:%Y-%m-%d}, {box['cpus']} CPUs, PostgreSQL {versions['postgresql']}"
    ratios = [
        (f"{workload} {figure.label} / {ratio.against}", ratio.value)
        for workload in report.found
        for figure in report.figures(workload)
        for ratio in figure.ratios
    ]
    made = {"ratios.svg": bars(ratios, f"Ratios within one run ({source})")} if ratios else {}
    for name, points in report.growth.items():
        series = SERIES[name]
        made[f"growth-{name}.svg"] = line(points, f"Revisions a second: {series.about} ({source})", series.axis)
    for workload, course in report.courses.items():
        for name, trend in course.trends().items():
            title = f"{workload}: {_titled(name)} ({source})"
            made[f"{workload.lower()}-{name}.svg"] = over_time(course.series[name], trend, title)
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in made]


def bars(values: Sequence[tuple[str, float]], title: str) -> str:
    """Return a bar for each value, with a mark at 1."""
    most = max(1.0, *(value for _, value in values))
    scale = (WIDTH - LEFT - 70) / most
    parts = []
    for place, (name, value) in enumerate(values):
        y = MARGIN + place * ROW
        parts.append(_text(LEFT - 8, y + 15, name, "end"))
        parts.append(f'<rect x="{LEFT}" y="{y + 3}" width="{value * scale:.1f}" height="{ROW - 8}" fill="{BAR}"/>')
        parts.append(_text(LEFT + value * scale + 6, y + 15, f"{value:.2f}"))
    bottom = MARGIN + len(values) * ROW
    parts.append(_stroke([(LEFT + scale, MARGIN - 4), (LEFT + scale, bottom)], dashed=True))
    parts.append(_text(LEFT + scale, bottom + 16, "1", "middle"))
    return _picture(parts, title, bottom + 30)


def line(points: Sequence[tuple[float, float]], title: str, axis: str) -> str:
    """Return the values against what grows, whose axis is logarithmic; 0 stands left of the rest."""
    places = _places([at for at, _ in points])
    most = max(value for _, value in points) * 1.15 or 1.0
    drawn = [
        (90 + place * (WIDTH - 150), HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - MARGIN))
        for place, (_, value) in zip(places, points, strict=True)
    ]
    parts = [_stroke([(70, MARGIN), (70, HEIGHT - BOTTOM), (WIDTH - 30, HEIGHT - BOTTOM)]), _stroke(drawn, colour=BAR)]
    for (x, y), (at, value) in zip(drawn, points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{BAR}"/>')
        parts.append(_text(x, y - 10, f"{value:,.0f}", "middle"))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{at:,.0f}", "middle"))
    parts.append(_text(WIDTH / 2, HEIGHT - 16, axis, "middle"))
    parts.append(_text(64, HEIGHT - BOTTOM, "0", "end"))
    return _picture(parts, title, HEIGHT)


def over_time(samples: Samples, trend: Trend, title: str) -> str:
    """Return the samples against minutes; the line that was fitted is dashed, over the part that it was fitted to."""
    last, most = samples[-1][0], max(value for _, value in samples) * 1.15 or 1.0
    wide, high = WIDTH - 100, HEIGHT - BOTTOM - MARGIN

    def place(at: float, value: float) -> tuple[float, float]:
        return 70 + at / last * wide, MARGIN + high * (1 - min(max(value / most, 0.0), 1.0))

    parts = [
        _stroke([(70, MARGIN), (70, MARGIN + high), (70 + wide, MARGIN + high)]),
        _stroke([place(*sample) for sample in samples], colour=BAR),
        _stroke([place(last - trend.seconds, trend.begins), place(last, trend.begins + trend.change)], dashed=True),
    ]
    for part in (0, 0.25, 0.5, 0.75, 1):
        x, y = place(part * last, part * most)
        parts.append(_text(x, MARGIN + high + 18, f"{part * last / 60:.3g}", "middle"))
        parts.append(_text(64, y + 4, _marked(part * most), "end"))
    parts.append(_text(WIDTH / 2, HEIGHT - 16, "minutes", "middle"))
    return _picture(parts, title, HEIGHT)


def _marked(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _titled(name: str) -> str:
    figure = Figure(name, 0.0, 0.0, 0.0)
    return f"{figure.label} in {figure.unit}" if figure.unit else figure.label


def _places(values: Sequence[float]) -> list[float]:
    """Return where the values stand between 0 and 1."""
    logs = [math.log10(value) if value > 0 else math.nan for value in values]
    known = [each for each in logs if not math.isnan(each)]
    least = min(known, default=0.0)
    if len(known) < len(logs):
        least -= 1
    logs = [least if math.isnan(each) else each for each in logs]
    width = (max(logs) - least) or 1.0
    return [(each - least) / width for each in logs]


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{escape(words)}</text>'


def _stroke(points: Sequence[tuple[float, float]], colour: str = INK, *, dashed: bool = False) -> str:
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'


def _picture(parts: Sequence[str], title: str, height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    )
    return "\n".join([head, _text(16, 20, title), *parts, "</svg>\n"])
