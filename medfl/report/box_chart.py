"""Box plots with a dot for each value as inline SVG, one below the other, each under its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from medfl.report.charts import ticks

_WIDTH, _LEFT, _RIGHT, _ROW, _BOTTOM = 480.0, 16.0, 16.0, 64.0, 46.0
_MOST_DOTS = 400  # of one box; more would only blacken it


@dataclass(frozen=True)
class Box:
    """One distribution: its name, its five numbers from the lowest to the highest, and its values in rising order."""

    name: str
    numbers: tuple[float, float, float, float, float]
    values: tuple[float, ...]


def box_chart(title: str, boxes: Sequence[Box], x_label: str) -> Markup:
    """Draw distributions.

    Parameters
    ----------
    title : str
        What the chart shows, for screen readers.
    boxes : sequence of Box
        Drawn from above.
    x_label : str
        Name of the axis.
    """
    x_ticks = ticks(min(box.numbers[0] for box in boxes), max(box.numbers[-1] for box in boxes), 5, top=1.0)
    low, high = min(x_ticks[0], *(box.numbers[0] for box in boxes)), max(x_ticks[-1], *(box.numbers[-1] for box in boxes))

    def place(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    height = _ROW * len(boxes) + _BOTTOM
    bottom = _ROW * len(boxes)
    parts = []
    for tick in x_ticks:
        x = f"{place(tick):.1f}"
        parts.append(f'<line class="grid" x1="{x}" y1="0" x2="{x}" y2="{bottom:g}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 18:g}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="name" x="{_WIDTH / 2:g}" y="{height - 6:g}" text-anchor="middle">{escape(x_label)}</text>')
    for k, box in enumerate(boxes):
        parts.append(_draw(box, [place(v) for v in box.numbers], [place(v) for v in box.values], k * _ROW))
    opened = '<svg class="chart boxes" viewBox="0 0 {} {}" role="img" aria-label="{}">'
    return Markup(opened).format(f"{_WIDTH:g}", f"{height:g}", title) + Markup("".join(parts)) + Markup("</svg>")


def _draw(box: Box, numbers: Sequence[float], values: Sequence[float], top: float) -> str:
    """Return a box below its name, and its dots below the box."""
    lowest, first, median, third, highest = numbers
    middle, words = top + 34, ", ".join(f"{v:.3f}" for v in box.numbers)
    step = max(1, -(-len(values) // _MOST_DOTS))
    dots = "".join(f'<circle class="case" cx="{x:.1f}" cy="{middle + 17:g}" r="2.2"/>' for x in values[::step])
    return (
        f'<text class="of" x="{_LEFT:g}" y="{top + 16:g}">{escape(box.name)}</text>'
        f'<path class="whisker" d="M{lowest:.1f} {middle:g}H{highest:.1f}"/>'
        f'<rect class="box" x="{first:.1f}" y="{middle - 9:g}" width="{max(third - first, 1):.1f}" height="18">'
        f"<title>{escape(box.name)}: lowest, quarter, median, three quarters, highest {words}</title></rect>"
        f'<path class="median" d="M{median:.1f} {middle - 9:g}v18"/>{dots}'
    )
