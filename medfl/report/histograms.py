"""Histograms as inline SVG, in the style of the other charts of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from medfl.report.charts import ticks

_WIDTH, _HEIGHT = 480.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 30.0, 12.0, 54.0
_BINS = 24
_LOG_AXIS_RATIO = 100.0  # of the largest to the smallest value; above it the axis is logarithmic
_GAP = 1.5


def histogram(title: str, values: Sequence[float], x_label: str) -> Markup:
    """Draw how often each value occurs; over a wide range of positive values the axis is logarithmic.

    Parameters
    ----------
    title : str
        Title for screen readers.
    values : sequence of float
        At least one value; they may all be equal.
    x_label : str
        Name of the axis.
    """
    wide = min(values) > 0 and max(values) / min(values) > _LOG_AXIS_RATIO
    positions = [math.log10(value) for value in values] if wide else list(values)
    marks = _axis_ticks(positions, wide=wide)
    low, high = min(marks[0], *positions), max(marks[-1], *positions)
    counts, edges = np.histogram(positions, bins=_bin_count(values), range=(low, high))
    y_ticks = ticks(0, int(counts.max()), 4, whole=True)
    top = y_ticks[-1]

    def across(position: float) -> float:
        return _LEFT + (position - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def up(count: float) -> float:
        return _HEIGHT - _BOTTOM - count / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in y_ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{up(tick):.1f}" x2="{_WIDTH - _RIGHT}" y2="{up(tick):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{up(tick) + 4.5:.1f}" text-anchor="end">{tick:g}</text>')
    for count, start, stop in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            tooltip = f"{int(count)}: {_format_value(start, wide=wide)} to {_format_value(stop, wide=wide)}"
            box = f'x="{across(start) + _GAP / 2:.1f}" width="{max(1.0, across(stop) - across(start) - _GAP):.1f}"'
            tall = f'y="{up(count):.1f}" height="{_HEIGHT - _BOTTOM - up(count):.1f}"'
            parts.append(f'<rect class="count" {box} {tall}><title>{tooltip}</title></rect>')
    below = f'y="{_HEIGHT - _BOTTOM + 21}" text-anchor="middle"'
    parts += [f'<text x="{across(mark):.1f}" {below}>{_format_value(mark, wide=wide)}</text>' for mark in marks]
    parts.append(f'<line class="axis" x1="{_LEFT}" y1="{up(0)}" x2="{_WIDTH - _RIGHT}" y2="{up(0)}"/>')
    place = f'x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}"'
    name = f'<text class="name" text-anchor="middle" {place}>{escape(x_label)}</text>'
    opened = f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(title)}">'
    return Markup(opened + "".join([*parts, name]) + "</svg>")


def _axis_ticks(positions: Sequence[float], *, wide: bool) -> list[float]:
    if wide:
        return [float(power) for power in range(math.floor(min(positions)), math.ceil(max(positions)) + 1)]
    return ticks(min(positions), max(positions), 4)


def _bin_count(values: Sequence[float]) -> int:
    return max(6, min(_BINS, 2 * math.ceil(math.sqrt(len(values)))))


def _format_value(position: float, *, wide: bool) -> str:
    value = 10**position if wide else position
    if 0 < abs(value) < 0.001 or abs(value) >= 100_000:
        return f"{value:.1e}".replace(".0e", "e").replace("e+0", "e").replace("e-0", "e-")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
