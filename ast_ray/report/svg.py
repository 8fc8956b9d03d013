"""Charts as inline SVG: colours come from the page's style, so that they follow light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 400, 270
LEFT = 52
RIGHT = 14
TOP = 14
BOTTOM = 44
MARKS = ("circle", "square", "diamond", "triangle", "cross")


@dataclass(frozen=True)
class Series:
    """Points (x, y) in one colour; ``band`` is (x, low, high); ``line`` joins the points, ``marked`` shows them."""

    name: str
    colour: int
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    line: bool = True
    marked: bool = False
    faint: bool = False
    size: float = 3.4


@dataclass(frozen=True)
class Axis:
    """One axis: its text, scale, and how a value is printed; ``low`` and ``high`` widen the range."""

    label: str
    log: bool = False
    percent: bool = False
    low: float | None = None
    high: float | None = None

    def text(self, value: float) -> str:
        """A tick's text."""
        if self.percent:
            return f"{100 * value:.4g}"
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0e}"


def ticks(low: float, high: float, *, log: bool = False, count: int = 5) -> list[float]:
    """Round values within [low, high]: multiples of 1, 2 or 5 times a power of ten; on a log scale the powers.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(0.003, 2.0, log=True)
    [0.01, 0.1, 1.0]
    """
    if log:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
            found = [step * 10.0**power for power in exponents for step in steps]
            inside = [value for value in found if low * 0.999 <= value <= high * 1.001]
            if len(inside) >= 3:
                break
        return [float(f"{value:.6g}") for value in inside]
    raw = (high - low) / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{number * step:.6g}") for number in range(first, last + 1)]


def _range(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    usable = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)]
    usable += [value for value in (axis.low, axis.high) if value is not None]
    if not usable:
        return (0.1, 1.0) if axis.log else (0.0, 1.0)
    low, high = min(usable), max(usable)
    if axis.log:
        return (low / 1.15, high * 1.15)
    pad = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    return (low if low in (0, axis.low) else low - pad, high if high == axis.high else high + pad)


class Plot:
    """Two axes and what is drawn between them."""

    def __init__(self, series: Sequence[Series], x: Axis, y: Axis) -> None:
        self.series = series
        self.x = x
        self.y = y
        across = [point[0] for one in series for point in one.points]
        up = [point[1] for one in series for point in one.points]
        up += [edge for one in series for part in one.band for edge in part[1:]]
        self.x_range, self.y_range = _range(across, x), _range(up, y)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Values to the drawing's coordinates."""
        along = _fraction(x, self.x_range, self.x.log)
        up = _fraction(y, self.y_range, self.y.log)
        return LEFT + along * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def usable(self, x: float, y: float) -> bool:
        """Return whether a point can be drawn on these scales."""
        return math.isfinite(x) and math.isfinite(y) and (x > 0 or not self.x.log) and (y > 0 or not self.y.log)

    def draw(self) -> str:
        """The inside of the SVG element."""
        return "".join([*self._axes(), *(part for one in self.series for part in self._series(one))])

    def _axes(self) -> list[str]:
        parts = []
        for value in ticks(*self.y_range, log=self.y.log):
            _, at = self.place(self.x_range[0], value)
            parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(self.y.text(value))}</text>')
        for value in ticks(*self.x_range, log=self.x.log):
            at, _ = self.place(value, self.y_range[0])
            parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
            text = escape(self.x.text(value))
            parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{text}</text>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        centre = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{centre}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.x.label)}</text>')
        turned = f'transform="rotate(-90 12 {middle})"'
        parts.append(f'<text x="12" y="{middle + 4}" text-anchor="middle" {turned}>{escape(self.y.label)}</text>')
        return parts

    def _series(self, one: Series) -> list[str]:
        parts, colour = [], f"c{one.colour}" + (" faint" if one.faint else "")
        good = [(x, low, high) for x, low, high in one.band if self.usable(x, low) and self.usable(x, high)]
        if good:
            upper = [self.place(x, high) for x, _, high in good]
            lower = [self.place(x, low) for x, low, _ in reversed(good)]
            parts.append(f'<path class="band {colour}" d="M{_joined(upper + lower)}Z"/>')
        places = [(self.place(x, y), x, y) for x, y in one.points if self.usable(x, y)]
        if one.line and len(places) > 1:
            dash = (
                "" if one.colour == 0 else f' stroke-dasharray="{("", "6 3", "2 3", "8 3 2 3", "4 2")[one.colour % 5]}"'
            )
            parts.append(f'<path class="line {colour}"{dash} d="M{_joined([place for place, _, _ in places])}"/>')
        if one.marked or len(places) == 1:
            for place, x, y in places:
                said = f"{one.name}: {self.x.label} {self.x.text(x)}, {self.y.label} {self.y.text(y)}"
                shape = mark(place, one.colour, one.size)
                parts.append(f'<path class="mark {colour}" d="{shape}"><title>{escape(said)}</title></path>')
        return parts


def _fraction(value: float, limits: tuple[float, float], log: bool) -> float:
    low, high = limits
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def mark(place: tuple[float, float], kind: int, size: float) -> str:
    """Path of a mark, a shape per colour so that colour is never the only difference."""
    x, y = place
    shapes: dict[str, Callable[[], str]] = {
        "circle": lambda: (
            f"M{x - size:.1f} {y:.1f}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0z"
        ),
        "square": lambda: f"M{x - size:.1f} {y - size:.1f}h{2 * size}v{2 * size}h{-2 * size}z",
        "diamond": lambda: (
            f"M{x:.1f} {y - 1.3 * size:.1f}l{1.3 * size:.1f} {1.3 * size:.1f}l{-1.3 * size:.1f} "
            f"{1.3 * size:.1f}l{-1.3 * size:.1f} {-1.3 * size:.1f}z"
        ),
        "triangle": lambda: f"M{x:.1f} {y - 1.2 * size:.1f}l{1.2 * size:.1f} {2.2 * size:.1f}h{-2.4 * size:.1f}z",
        "cross": lambda: (
            f"M{x - size:.1f} {y - 1:.1f}h{2 * size}v2h{-2 * size}zM{x - 1:.1f} {y - size:.1f}h2v{2 * size}h-2z"
        ),
    }
    return shapes[MARKS[kind % len(MARKS)]]()


def legend(series: Sequence[Series]) -> Markup:
    """Names with their marks, as an HTML list; faint lines, which repeat another series, are left out."""
    items = [
        f'<li><svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
        f'<path class="mark c{one.colour}" d="{mark((7, 7), one.colour, 4.5)}"/></svg>{escape(one.name)}</li>'
        for one in series
        if one.marked or not one.faint
    ]
    return Markup(f'<ul class="legend">{"".join(items)}</ul>')


def chart(key: str, title: str, description: str, series: Sequence[Series], x: Axis, y: Axis) -> Markup:
    """A whole chart with accessible name and description; ``key`` makes its ids unique on the page."""
    inside, named = Plot(series, x, y).draw(), f"{escape(key)}-t {escape(key)}-d"
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{named}">'
        f'<title id="{escape(key)}-t">{escape(title)}</title><desc id="{escape(key)}-d">{escape(description)}</desc>'
        f"{inside}</svg>{legend(series)}"
    )
