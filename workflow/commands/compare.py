"""What moved between two reports, and what else is another in the second one."""

import json as json_text
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from pipeline.publishing.comparison import Comparison, compare_reports
from pipeline.publishing.finished import FinishedReport
from pipeline.publishing.score_changes import Change
from workflow.commands.console import show_table

MOVED = 3  # the exit status that says so
MOST = 25  # rows of a table; --json has all
WIDEST = 29  # characters of a setting or machine; --json has all
NUMBERS = ("before", "after", "difference", "95 % interval")


def main(*, before: Path, after: Path, json: bool) -> int:
    """Prints the comparison. Status 3: at least one score moved."""
    try:
        comparison = compare_reports(FinishedReport.read(before), FinishedReport.read(after))
    except ValueError as error:
        sys.exit(f"error: {error}")
    if json:
        print(json_text.dumps(as_json(comparison), indent=1, ensure_ascii=False))
    else:
        show(comparison)
    return MOVED if comparison.scores.moved else 0


def as_json(comparison: Comparison) -> dict[str, object]:
    """The whole comparison, with every score that is not equal."""
    scores = comparison.scores
    counts = {"equal": scores.equal, "changed": len(scores.changes), "moved": len(scores.moved)}
    return {
        "before": comparison.before,
        "after": comparison.after,
        "scores": counts,
        "changes": [_change(change) for change in scores.changes],
        "unequal": [asdict(unequal) for unequal in comparison.unequal],
    }


def _change(change: Change) -> dict[str, object]:
    return {
        "teacher": change.teacher,
        "student": change.student,
        "method": change.method,
        "task": change.measure.task,
        "metric": change.measure.metric.name,
        "before": change.before,
        "after": change.after,
        "low": _number(change.interval.low),
        "high": _number(change.interval.high),
        "basis": change.basis,
        "moved": change.has_moved,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def show(comparison: Comparison) -> None:
    """Prints a summary, the scores that moved, and whatever else differs, by kind."""
    scores = comparison.scores
    moved, total = len(scores.moved), scores.equal + len(scores.changes)
    print(f"{comparison.before} -> {comparison.after}")
    if any(unequal.kind == "data" for unequal in comparison.unequal):
        print("measured on different data: what moved may be due to the data alone")
    if not total:
        print("the two have no score in common")
    else:
        within = len(scores.changes) - moved
        print(
            f"{total} scores in both: {scores.equal} equal, {within} within the interval of their "
            f"difference, {moved} moved"
        )
    if moved:
        print("Each line is a score's teacher, student and method.")
    for measure, moves in groupby(scores.moved, key=lambda change: change.measure):
        print()
        headings = (f"{measure.task} {measure.metric.title}", *NUMBERS)
        _show_rows(headings, [_row(change) for change in moves], NUMBERS)
    for kind, group in groupby(comparison.unequal, key=lambda unequal: unequal.kind):
        print()
        rows = [(each.name, _cut(each.before), _cut(each.after)) for each in group]
        _show_rows((kind, "before", "after"), rows)


def _show_rows(
    headings: Sequence[str], rows: Sequence[tuple[str, ...]], right: Sequence[str] = ()
) -> None:
    show_table(headings, rows[:MOST], right)
    if len(rows) > MOST:
        print(f"and {len(rows) - MOST} more: --json has all")


def _row(change: Change) -> tuple[str, ...]:
    form = change.measure.format
    low, high = map(change.measure.format_end, (change.interval.low, change.interval.high))
    cell = f"{change.teacher} {change.student} {change.method}"
    numbers = form(change.before), form(change.after), form(change.difference)
    return cell, *numbers, f"{low} to {high}"


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
