"""What came out of an experiment, in few lines: the best methods, their cost, the verdict."""

import json
import shutil
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.reporting.analysis.outcome import FILE, Best, Outcome, PairOutcome
from workflow.commands.console import WIDEST

LINES = 13
ROWS = 4  # pairs of teacher and student
LABEL = 22  # columns that a pair's name has in any case
GAP = 2  # columns between two of the table's


def show(report: Path, note: str) -> None:
    """Prints what a finished report says, after a note on how it was made."""
    outcome: Outcome = json.loads((report / FILE).read_text(encoding="utf-8"))
    is_terminal = sys.stdout.isatty()
    width = min(WIDEST, shutil.get_terminal_size().columns) if is_terminal else WIDEST
    console = Console(width=width, highlight=False, no_color=not is_terminal)
    console.print(_table(outcome, width))
    legend = [*_times(outcome, width), *_legend(outcome, is_terminal)]
    pairs = min(len(outcome["pairs"]), ROWS + 1)
    # beside the headings, the note and the path
    for line in _verdicts(outcome["verdicts"], LINES - 3 - pairs - len(legend), width):
        console.print(Text(line), no_wrap=True)
    print(*legend, note, f"report: {(report / 'index.html').resolve()}", sep="\n")


def _times(outcome: Outcome, width: int) -> list[str]:
    """A line with the times of training, where they are known: of the table's methods first."""
    if not (times := outcome.get("times", [])):
        return []
    shown = [best["method"] for pair in outcome["pairs"][:ROWS] for best in pair["best"] if best]
    names = dict.fromkeys([*shown, *(name for each in times for name in each["seconds"])])
    entries = [
        f"{name} {'/'.join(each['seconds'].get(name, '–') for each in times)}" for name in names
    ]
    accounts = "/".join(each["account"] for each in times)
    for count in range(len(entries), 0, -1):
        more = ", …" if count < len(entries) else ""
        line = f"training, {accounts} (s): {', '.join(entries[:count])}{more}"
        if len(line) <= width:
            return [line]
    return []


def _legend(outcome: Outcome, is_terminal: bool) -> list[str]:
    """A line on what the marks of the table mean, where it has any."""
    cells = [best for pair in outcome["pairs"] for best in pair["best"] if best]
    marks = []
    if any(best["tied"] > 0 for best in cells):
        marks.append("(+n): as many others are not significantly worse")
    if len(outcome["pairs"]) > 1 and is_terminal:
        marks.append("bold: the best of all pairs")
    return ["; ".join(marks)] if marks else []


def _table(outcome: Outcome, width: int) -> Table:
    rows = [_row(pair) for pair in outcome["pairs"][:ROWS]]
    columns = list(zip(outcome["measures"], *(cells for _, *cells in rows), strict=True))
    taken = sum(GAP + max(map(len, column)) for column in columns)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    label = max(LABEL, width - taken)
    table.add_column("best method", no_wrap=True, overflow="ellipsis", max_width=label)
    for measure in outcome["measures"]:
        table.add_column(measure, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
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


def _verdicts(verdicts: list[str], room: int, width: int) -> list[str]:
    """As many verdicts as have room."""
    lines: list[str] = []
    for verdict in verdicts:
        wrapped = textwrap.wrap(verdict, width, subsequent_indent="  ")
        if len(lines) + len(wrapped) <= room:
            lines += wrapped
        elif not lines:
            lines = textwrap.wrap(verdict, width, max_lines=room, placeholder=" …")
    return lines
