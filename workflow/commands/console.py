"""How commands print: tables of at most 100 columns on a terminal, plain text elsewhere."""

import contextlib
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence

from pipeline.runtime.inert import inert_line

WIDEST, NARROWEST = 100, 40  # columns
UNITS = ("B", "kB", "MB", "GB", "TB")


def show_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> None:
    """Prints a table; the columns in `right` are flush right. Plain text is never cut."""
    rows = [[*map(inert_line, row)] for row in rows]
    if not rows:
        return
    if not sys.stdout.isatty():
        print(plain_table(headings, rows, right))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        align = "right" if heading in right else "left"
        table.add_column(heading, justify=align, overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=width).print(table)


def plain_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> str:
    """The same as lines of text, two spaces between columns."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]

    def aligned(column: int, text: str) -> str:
        adjust = str.rjust if headings[column] in right else str.ljust
        return adjust(text, widths[column])

    texts = ("  ".join(aligned(*cell) for cell in enumerate(line)) for line in lines)
    return "\n".join(text.rstrip() for text in texts)


@contextlib.contextmanager
def progress(purpose: str) -> Iterator[Callable[[int, int], None]]:
    """Shows on a terminal how many of how many are done, elsewhere only the purpose, once."""
    if not sys.stderr.isatty():
        print(purpose, file=sys.stderr, flush=True)
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True, width=WIDEST), transient=True) as bar:
        task = bar.add_task(purpose, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def file_size(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 else f"{count:.1f} {UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
