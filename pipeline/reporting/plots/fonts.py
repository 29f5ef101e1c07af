"""The font of the plots, as PDF files take it."""

import atexit
import dataclasses
import tempfile
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont
from matplotlib.font_manager import fontManager

from pipeline.reporting.plots.looks import FONT

SHAPING = ("GDEF", "GPOS", "GSUB", "MATH")  # matplotlib draws without them


@cache
def trim() -> None:
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
            fontManager.ttflist[number] = dataclasses.replace(entry, fname=str(copy))
