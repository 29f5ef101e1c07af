"""How figures look: inks, type, and a colour, a marker and a line for each method.

A method of the catalogue looks the same in every figure of every report. Thin marks have a contrast
of 3:1 or more on white and on the page's dark paper.
"""

import atexit
import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from zlib import crc32

from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.typing import LineStyleType, RcKeyType

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.scores import Results

# After Okabe and Ito, for all kinds of sight; yellow, orange and sky blue are darker than theirs.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#A87A00", "#2E96D0", "#B5446E")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "d", "h")
LOOKS = len(COLOURS) * len(MARKERS)  # each is one method's alone
LINES: tuple[LineStyleType, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
INK = "#222222"  # in an SVG the colour of the text around it
PAPER = "#ffffff"
GREY = "#8A8A8A"
BETTER, WORSE = "#009E73", "#D55E00"
COLUMN, PAGE = 3.3, 6.75  # inches: a column of a paper, and its whole width
HANDLE = 0.46  # inches of a legend's entry besides its text
SMALL, NORMAL = 7.0, 7.5  # points, of type
FONT = "DejaVu Sans"
SHAPING = ("GDEF", "GPOS", "GSUB", "MATH")  # of the font: matplotlib draws without them
RC: dict[RcKeyType, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": [FONT, "Verdana", "sans-serif"],  # the first two are equally wide
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": SMALL,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.xmargin": 0.08,
    "figure.facecolor": "none",
    "grid.alpha": 0.13,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "patch.linewidth": 0,
    "pdf.fonttype": 42,  # fonts whole, as publishers ask
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text that can be searched and selected; as paths it fills megabytes
    "svg.hashsalt": "distilbench",  # the same bytes from the same numbers
    "text.color": INK,
    "text.hinting": "none",  # texts are equally wide in all formats, so that one layout fits them
    "text.parse_math": False,  # a name may hold a dollar sign
    "xtick.color": INK,
    "xtick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": SMALL,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Style:
    """The look of a method, or of what else a figure distinguishes."""

    colour: str
    marker: str
    line: LineStyleType


def style_number(number: int) -> Style:
    """One of LOOKS styles that differ in colour or marker."""
    line = LINES[number // len(COLOURS) % len(LINES)]
    colour = COLOURS[(number + 3 * (number // len(MARKERS))) % len(COLOURS)]
    return Style(colour, MARKERS[number % len(MARKERS)], line)


def styles_of(results: Results) -> dict[str, Style]:
    """The style of each method, in the order of the grid."""
    numbers = _numbers(results.method_names)
    return {method: style_number(numbers[method]) for method in results.method_names}


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """A look for each method: by its place in the catalogue, or by its name.

    A name outside of the catalogue takes one that no method there has, as long as some are free.
    """
    places = {name: place for place, name in enumerate(METHODS)}
    numbers = {name: places[name] for name in names if name in places}
    for name in names:
        if name not in numbers:
            others = range(len(METHODS), LOOKS)
            first = crc32(name.encode()) % len(others)
            probed = (*others[first:], *others[:first], *range(len(METHODS)))
            taken = set(numbers.values())
            numbers[name] = next((look for look in probed if look not in taken), probed[0])
    return numbers


def numbered_styles(labels: Iterable[str]) -> dict[str, Style]:
    """Styles for what isn't a method, such as pairs or parts, by position."""
    return {label: style_number(number) for number, label in enumerate(labels)}


def handles_of(
    styles: Mapping[str, Style], *, lines: bool = True, markers: bool = True
) -> list[Line2D]:
    """A legend entry for each label."""
    return [
        Line2D(
            [],
            [],
            color=style.colour,
            marker=style.marker if markers else "none",
            linestyle=style.line if lines else "none",
            label=shortened(label, 2.4),
        )
        for label, style in styles.items()
    ]


@cache
def trim_font() -> None:
    """Has matplotlib read a copy of the font that lacks the tables of complex scripts.

    Each PDF parses the whole font to embed the few glyphs that it shows: half of that time goes
    into these tables. The copies last as long as this process.
    """
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    for number, entry in enumerate(fontManager.ttflist):
        if entry.name == FONT and entry.style == "normal":
            copy = Path(folder.name) / f"{number}.ttf"
            with TTFont(entry.fname, recalcTimestamp=False) as font:
                for table in SHAPING:
                    if table in font:
                        del font[table]
                font.save(copy)
            fontManager.ttflist[number] = replace(entry, fname=str(copy))


@cache
def text_width(text: str, points: float = SMALL) -> float:
    """The width of a line of text in inches."""
    font = get_font(findfont(FONT))
    font.set_size(points, 72)
    font.set_text(text, 0.0)
    return font.get_width_height()[0] / 64 / 72


def shortened(text: str, inches: float = 1.9, points: float = SMALL) -> str:
    """The text, its middle left out where it is too wide."""
    if text_width(text, points) <= inches:
        return text
    kept = next(
        count
        for count in range(len(text) - 1, -1, -1)
        if text_width(_without_middle(text, count), points) <= inches or not count
    )
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    ending = kept // 3
    return text[: kept - ending] + "…" + text[len(text) - ending :]


def wrapped(text: str, inches: float, points: float = NORMAL) -> str:
    """The text in lines of at most a width, in its own lines to begin with."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in re.findall(r"\S+", paragraph):
            longer = f"{line} {word}".strip()
            if line and text_width(longer, points) > inches:
                lines.append(line)
                longer = word
            line = shortened(longer, inches, points)
        lines.append(line)
    return "\n".join(lines)


def _legend_columns(legend: Sequence[Line2D | Patch], width: float) -> int:
    """The most columns that fit beside each other, each as wide as its widest entry."""
    widths = [text_width(str(handle.get_label())) + HANDLE for handle in legend]
    for rows in range(1, len(widths)):
        columns = math.ceil(len(widths) / rows)
        of_columns = (widths[start : start + rows] for start in range(0, len(widths), rows))
        if sum(map(max, of_columns)) <= width:
            return columns
    return 1


def legend_height(legend: Sequence[Line2D | Patch], width: float) -> float:
    """The inches that a legend takes below its figure."""
    return 0.1 + 0.145 * math.ceil(len(legend) / _legend_columns(legend, width)) if legend else 0.0


def add_legend(figure: Figure, legend: Sequence[Line2D | Patch], width: float) -> None:
    """Writes a legend below the figure."""
    figure.legend(
        handles=list(legend),
        loc="outside lower center",
        ncols=_legend_columns(legend, width),
        handlelength=2.2,
        columnspacing=1.2,
        numpoints=1,
    )
