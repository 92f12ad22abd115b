"""Line drawings as SVG text, with axes and titles; no library is needed to look at them."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "draw"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 320, 76, 16, 14, 40
_MAX_POINTS = 240
_MAX = 1e300  # beyond it, differences overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points to be joined, or to be shown as dots.

    Attributes:
        points: ``(x, y)``; those that are NaN, infinite or beyond 1e300 are left out.
        label: shown where the mouse rests.
        is_strong: drawn in the accent colour and on top.
        is_dots: dots instead of a line.
    """

    points: Sequence[tuple[float, float]]
    label: str = ""
    is_strong: bool = False
    is_dots: bool = False


def draw(lines: Sequence[Line], *, x_label: str, y_label: str) -> str:
    """An SVG element with all lines in one frame; "" where there is no point to show.

    A line of more than 240 points is thinned out; its last point always stays.
    """
    shown = [(line, _thinned([(x, y) for x, y in line.points if _finite(x, y)])) for line in lines]
    every = [point for _, points in shown for point in points]
    if not every:
        return ""
    x_low, x_high = _range([x for x, _ in every])
    y_low, y_high = _range([y for _, y in every])

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        down = _TOP + (y_high - y) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(across, 1), round(down, 1)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(y_label)} by {x_label}">']
    for tick in _ticks(y_low, y_high):
        _, y = place(x_low, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:.4g}</text>')
    for tick in _ticks(x_low, x_high):
        x, _ = place(tick, y_low)
        parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:.4g}</text>')
    for line, points in sorted(shown, key=lambda entry: entry[0].is_strong):
        parts.append(_shape(line, [place(x, y) for x, y in points]))
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(
        f'<text transform="translate(13 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">{html.escape(y_label)}</text>'
    )
    parts.append("</svg>")
    return "\n".join(parts)


def _shape(line: Line, places: Sequence[tuple[float, float]]) -> str:
    kind = "strong" if line.is_strong else "weak"
    title = f"<title>{html.escape(line.label)}</title>" if line.label else ""
    if line.is_dots or len(places) == 1:
        return "".join(f'<circle class="{kind}" cx="{x}" cy="{y}" r="3">{title}</circle>' for x, y in places)
    path = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline class="{kind}" points="{path}">{title}</polyline>'


def _finite(x: float, y: float) -> bool:
    return abs(x) < _MAX and abs(y) < _MAX  # false for NaN


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    stride = math.ceil(len(points) / _MAX_POINTS)
    return points if stride <= 1 else [*points[:-1:stride], points[-1]]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) * 0.1 or 1.0
        return low - margin, high + margin
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    """Four to ten round numbers between the ends; only the ends where floats are too coarse for that."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span))
    if span < 1e-12 * max(abs(low), abs(high)) or step == 0.0:
        return [low, high]
    step = next((step * part for part in (1.0, 0.5, 0.2) if span / (step * part) >= 4), step * 0.2)
    first = math.ceil(low / step)
    ticks = [index * step for index in range(first, first + 12) if index * step <= high]
    return ticks or [low, high]
