"""Small line charts that a page draws itself: many of them must not make it large."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 300, 170
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 8, 22  # margins around the plane
POINTS = 48  # of a line, at most
SETTLED = 0.1  # share of the steps after which a line must fit on the axis
DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2")


@dataclass(frozen=True)
class Series:
    """What one line shows."""

    name: str
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Line:
    """A line as SVG draws it."""

    name: str
    dash: str
    points: str


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A plane with lines over the optimizer steps."""

    title: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float  # where in the picture `low` is
    end: float

    def places(self, values: np.ndarray) -> list[float]:
        shares = (values - self.low) / (self.high - self.low)
        places = self.start + shares * (self.end - self.start)
        return [round(place, 1) for place in places.tolist()]  # numpy rounds some of them otherwise

    def ticks(self, count: int) -> tuple[Tick, ...]:
        found = MaxNLocator(count).tick_values(self.low, self.high)
        inside = found[(self.low <= found) & (found <= self.high)]
        places = zip(self.places(inside), inside, strict=True)
        return tuple(Tick(place, f"{value:g}") for place, value in places)


def chart(title: str, series: Sequence[Series]) -> Chart | None:
    """The lines of `series` that have a point; None where there is none."""
    shown = [_thinned(one) for one in series if len(one.steps)]
    if not shown:
        return None
    last = max(one.steps[-1] for one in shown)
    settled = np.concatenate([one.values[one.steps >= SETTLED * last] for one in shown])
    x = _Axis(0, max(float(last), 1.0), LEFT, WIDTH - RIGHT)
    y = _Axis(*_span(settled), HEIGHT - BOTTOM, TOP)
    lines = tuple(
        Line(one.name, DASHES[place % len(DASHES)], _points(one, x, y))
        for place, one in enumerate(shown)
    )
    return Chart(title, lines, x.ticks(4), y.ticks(4))


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.05 * abs(low) or 1.0
    return low - margin, high + margin


def _thinned(series: Series) -> Series:
    """Means of neighbours, where there are more points than a line needs."""
    if len(series.steps) <= POINTS:
        return series
    parts = np.array_split(np.arange(len(series.steps)), POINTS)
    steps = np.array([series.steps[part][-1] for part in parts])
    return Series(series.name, steps, np.array([series.values[part].mean() for part in parts]))


def _points(series: Series, x: _Axis, y: _Axis) -> str:
    pairs = zip(x.places(series.steps), y.places(series.values), strict=True)
    return " ".join(f"{across:g},{up:g}" for across, up in pairs)
