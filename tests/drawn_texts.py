"""Where the texts of a figure stand once it is drawn."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

TOLERANCE = 0.5  # pixels, of a hundred an inch


@dataclass(frozen=True)
class Drawn:
    """A text and its box in pixels."""

    text: str
    box: Bbox


def drawn_texts(figure: Figure) -> list[Drawn]:
    """All texts that a reader sees, without the empty lines of those that have some."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # which puts legends where they belong
    drawn = []
    for text in _visible(figure):
        box = text.get_window_extent(renderer)
        lines = text.get_text().split("\n")
        written = [place for place, line in enumerate(lines) if line.strip()]
        height = box.height / len(lines)
        top, bottom = box.y1 - written[0] * height, box.y1 - (written[-1] + 1) * height
        words = text.get_text().strip("\n")
        drawn.append(Drawn(words, Bbox.from_extents(box.x0, bottom, box.x1, top)))
    return drawn


def _visible(figure: Figure) -> Iterator[Text]:
    ticks = {}  # of tick labels, whether they are within their axis
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                within = axes.axison and low <= tick.get_loc() <= high
                ticks |= {id(tick.label1): within, id(tick.label2): False}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text().strip() and ticks.get(id(text), True):
            yield text


def faults(figure: Figure) -> list[str]:
    """The texts that are cut by the figure's edge, and those that overlap."""
    texts = drawn_texts(figure)
    whole = figure.bbox
    cut = [
        f"cut: {text.text!r}"
        for text in texts
        if text.box.x0 < whole.x0 - TOLERANCE
        or text.box.y0 < whole.y0 - TOLERANCE
        or text.box.x1 > whole.x1 + TOLERANCE
        or text.box.y1 > whole.y1 + TOLERANCE
    ]
    overlapping = [
        f"overlap: {first.text!r}, {second.text!r}"
        for first, second in combinations(texts, 2)
        if min(first.box.x1, second.box.x1) - max(first.box.x0, second.box.x0) > TOLERANCE
        and min(first.box.y1, second.box.y1) - max(first.box.y0, second.box.y0) > TOLERANCE
    ]
    return cut + overlapping
