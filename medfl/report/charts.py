"""Line charts and curves in the unit square as inline SVG. Colours come from the style sheet, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

COLOURS, DASHES = 8, 5  # as many as the style sheet has; further lines repeat the colours with dashes
_MAX_DOTS = 40  # of one line; more would blur it
_MANY_LINES = 7  # with more lines, single ones are drawn faint behind the strong one
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 12.0, 46.0
_SAME = 1e-5  # values closer than this share of the larger one are drawn as one: labels of six digits could not tell them apart


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Parameters
    ----------
    name : str
        Name for the legend and for screen readers.
    points : sequence of (float, float)
        Points in rising order of x. One whose y is not finite is missing: the line has a gap there.
    style : int
        Number of the colour and dash; the line of -1 is drawn strong, in the colour of the text.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int

    @property
    def css(self) -> str:
        """Class names of the style sheet."""
        return "strong" if self.style < 0 else f"c{self.style % COLOURS} d{self.style // COLOURS % DASHES}"


@dataclass(frozen=True)
class Band:
    """A band between two lines over the same x, drawn faint below the lines, in the colour of a style."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    style: int


@dataclass(frozen=True)
class _Frame:
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def x_pixel(self, value: float) -> float:
        return _LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - _LEFT - _RIGHT)

    def y_pixel(self, value: float) -> float:
        return self.height - _BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - _TOP - _BOTTOM)


def line_chart(title: str, lines: Sequence[Line], y_label: str, x_label: str = "Round", top: float | None = None) -> Markup:
    """Draw values over rounds.

    Parameters
    ----------
    title : str
        What the chart shows, for screen readers.
    lines : sequence of Line
        Drawn in this order; x are whole numbers.
    y_label, x_label : str
        Names of the axes.
    top : float, optional
        The y axis ends at this value at most, for scores that cannot be higher.

    Returns
    -------
    Markup
        The chart; empty when no point has a value.
    """
    points = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    if not points:
        return Markup("")
    xs, ys = zip(*points, strict=True)
    y_ticks = ticks(min(ys), max(ys), 5, top=top)
    first, last = min(xs), max(max(xs), min(xs) + 1)
    frame = _Frame(480, 290, (first, last), (min(y_ticks[0], *ys), max(y_ticks[-1], *ys)))
    x_ticks = [t for t in ticks(first, last, 6, whole=True) if first <= t <= last]
    body = [_draw_axes(frame, x_ticks, y_ticks, x_label, y_label)]
    many = len(lines) > _MANY_LINES
    dots = [line.style < 0 or not many for line in lines]
    drawn = sorted(zip(lines, dots, strict=True), key=lambda pair: pair[0].style < 0)
    body += [_draw_line(frame, line, x_label, dots=dot) for line, dot in drawn]
    return _svg(frame, title, body, "chart many" if many else "chart")


def roc_chart(title: str, lines: Sequence[Line]) -> Markup:
    """Draw ROC curves: x is 1 - specificity, y is sensitivity."""
    return share_chart(title, lines, "1 − specificity", "Sensitivity")


def share_chart(
    title: str, lines: Sequence[Line], x_label: str, y_label: str, *, bands: Sequence[Band] = (), dots: bool = False
) -> Markup:
    """Draw lines in the unit square with its diagonal, above their bands.

    Parameters
    ----------
    title : str
        What the chart shows, for screen readers.
    lines : sequence of Line
        Both coordinates are from 0 to 1.
    x_label, y_label : str
        Names of the axes.
    bands : sequence of Band
        Drawn below the lines.
    dots : bool
        Whether each point has a dot.
    """
    frame = _Frame(420, 400, (0, 1), (0, 1))
    fifths = [0, 0.2, 0.4, 0.6, 0.8, 1]
    (left, bottom), (right, top) = ((frame.x_pixel(end), frame.y_pixel(end)) for end in (0, 1))
    diagonal = f'<line class="chance" x1="{left}" y1="{bottom}" x2="{right}" y2="{top}"/>'
    body = [_draw_axes(frame, fifths, fifths, x_label, y_label), *(_draw_band(frame, band) for band in bands), Markup(diagonal)]
    body += [_draw_line(frame, line, x_label, dots=dots) for line in lines]
    return _svg(frame, title, body, "chart square")


def legend(lines: Sequence[Line]) -> Markup:
    """Draw the legend of a chart as a list."""
    item = '<li><svg viewBox="0 0 28 10" aria-hidden="true"><path class="line {}" d="M1 5H27"/></svg>{}</li>'
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(Markup(item).format(line.css, line.name) for line in lines)
    )


def ticks(low: float, high: float, target: int, *, whole: bool = False, top: float | None = None) -> list[float]:
    """Return two or more round numbers that span a range, also one without a width.

    Parameters
    ----------
    low, high : float
        Ends of the range; finite.
    target : int
        Number of steps that is aimed at.
    whole : bool
        Only whole numbers.
    top : float, optional
        No number is higher; the range ends below it.

    Examples
    --------
    >>> ticks(0.12, 0.83, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(0, 7, 6, whole=True)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    >>> ticks(1.0, 1.0, 5, top=1.0)
    [0.8, 1.0]
    """
    size = max(abs(low), abs(high))
    span = high - low if high - low > _SAME * size else size or 1.0
    power = 10.0 ** math.floor(math.log10(span / target))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= span / target * 0.999)
    step = max(step, 1.0) if whole else step
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    stop = max(stop, start + 1)
    if top is not None:
        stop = min(stop, math.floor(top / step + 1e-9))
        start = min(start, stop - 1)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(k * step, digits) for k in range(start, stop + 1)]


def _draw_axes(frame: _Frame, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str) -> Markup:
    left, right, bottom = frame.x_pixel(frame.x[0]), frame.x_pixel(frame.x[1]), frame.y_pixel(frame.y[0])
    parts = []
    for tick in y_ticks:
        y = frame.y_pixel(tick)
        parts.append(f'<line class="grid" x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8:.1f}" y="{y + 4.5:.1f}" text-anchor="end">{tick:g}</text>')
    below = f'y="{bottom + 19:.1f}" text-anchor="middle"'
    parts += [f'<text x="{frame.x_pixel(tick):.1f}" {below}>{tick:g}</text>' for tick in x_ticks]
    parts.append(f'<line class="axis" x1="{left:.1f}" y1="{bottom:.1f}" x2="{right:.1f}" y2="{bottom:.1f}"/>')
    middle = (frame.y_pixel(frame.y[0]) + frame.y_pixel(frame.y[1])) / 2
    name = '<text class="name" text-anchor="middle" {}>{}</text>'
    attributes = (
        f'x="{(left + right) / 2:.1f}" y="{frame.height - 6:.1f}"',
        f'transform="translate(13 {middle:.1f}) rotate(-90)"',
    )
    names = [name.format(attribute, escape(label)) for attribute, label in zip(attributes, (x_label, y_label), strict=True)]
    return Markup("".join(parts + names))


def _draw_line(frame: _Frame, line: Line, x_label: str = "", *, dots: bool = True) -> Markup:
    shown = [(frame.x_pixel(x), frame.y_pixel(y), x, y) if math.isfinite(y) else None for x, y in line.points]
    path, command = "", "M"
    for point in shown:
        path += f"{command}{point[0]:.1f} {point[1]:.1f}" if point else ""
        command = "L" if point else "M"
    drawn = Markup('<path class="line {}" d="{}"><title>{}</title></path>').format(line.css, path, line.name)
    if dots and len(shown) <= _MAX_DOTS:
        dot = '<circle class="dot {}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>'
        radius = 3.4 if line.style < 0 else 2.6
        for x_pixel, y_pixel, x, y in filter(None, shown):
            tooltip = f"{line.name}: {y:.3f} ({x_label.lower()} {x:g})"
            drawn += Markup(dot).format(line.css, f"{x_pixel:.1f}", f"{y_pixel:.1f}", radius, tooltip)
    return drawn


def _draw_band(frame: _Frame, band: Band) -> Markup:
    there, back = (list(zip(band.x, ends, strict=True)) for ends in (band.high, band.low))
    path = "L".join(f"{frame.x_pixel(x):.1f} {frame.y_pixel(y):.1f}" for x, y in (*there, *back[::-1]))
    return Markup(f'<path class="band c{band.style % COLOURS}" d="M{path}Z"/>')


def _svg(frame: _Frame, title: str, body: Sequence[Markup], css: str) -> Markup:
    opened = '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">'
    return Markup(opened).format(css, f"{frame.width:g}", f"{frame.height:g}", title) + Markup("").join(body) + Markup("</svg>")
