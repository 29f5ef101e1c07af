"""What came out of an experiment, in at most 12 lines: the best methods, the verdict, the page."""

import json
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.reporting.analysis.outcome import FILE, Best, Outcome, PairOutcome
from workflow.commands.console import WIDEST

LINES = 12
ROWS = 4  # pairs of teacher and student
LABEL = 22  # columns


def show(report: Path, note: str) -> None:
    """Prints what a finished report says, after a note on how it was made."""
    outcome: Outcome = json.loads((report / FILE).read_text(encoding="utf-8"))
    console = Console(width=WIDEST, highlight=False, no_color=not sys.stdout.isatty())
    console.print(_table(outcome))
    pairs = min(len(outcome["pairs"]), ROWS + 1)
    room = LINES - 1 - pairs - 3  # the headings, the meaning of the numbers, the note, the page
    for line in _verdicts(outcome["verdicts"], room):
        console.print(Text(line), no_wrap=True)
    print("(+n): as many others are not significantly worse; bold: the best of all pairs")
    print(note)
    print(f"report: {(report / 'index.html').resolve()}")


def _table(outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("best method", no_wrap=True, overflow="ellipsis", max_width=LABEL)
    for measure in outcome["measures"]:
        table.add_column(measure, no_wrap=True, overflow="ellipsis")
    for pair in outcome["pairs"][:ROWS]:
        table.add_row(*_row(pair))
    if len(outcome["pairs"]) > ROWS:
        table.add_row(f"and {len(outcome['pairs']) - ROWS} more")
    return table


def _row(pair: PairOutcome) -> list[Text]:
    return [Text(pair["pair"]), *map(_cell, pair["best"])]


def _cell(best: Best | None) -> Text:
    if best is None:
        return Text("–")
    others = f" (+{best['tied']})" if best["tied"] > 0 else ""
    return Text(f"{best['value']} {best['method']}{others}", "bold" if best["is_best"] else "")


def _verdicts(verdicts: list[str], room: int) -> list[str]:
    """As many verdicts as have room, the first one in full."""
    lines: list[str] = []
    for verdict in verdicts:
        wrapped = textwrap.wrap(verdict, WIDEST, subsequent_indent="  ")
        if len(lines) + len(wrapped) <= room:
            lines += wrapped
        elif not lines:
            lines = textwrap.wrap(verdict, WIDEST, max_lines=room, placeholder=" …")
    return lines
