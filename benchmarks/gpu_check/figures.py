"""What a check measures: figures with their targets, and the table that they stand in."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.results import markdown

Verdict = Literal["pass", "FAIL", "-"]
Status = Literal["ok", "failed", "timed out", "not run", "skipped"]
WIDTH = 100


@dataclass(frozen=True)
class Figure:
    """A measured number, and what it is held to."""

    name: str
    value: float | str
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    equals: float | str | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the figure keeps its target; a dash where it has none."""
        if self.equals is not None:
            return "pass" if self.value == self.equals else "FAIL"
        if self.at_most is None and self.at_least is None:
            return "-"
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        # a comparison with NaN is false: no number keeps no target
        return "pass" if low <= float(self.value) <= high else "FAIL"

    @property
    def target(self) -> str:
        """The target in words."""
        if self.equals is not None:
            return f"= {short(self.equals)}"
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        return " ".join(f"{sign} {short(bound)}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Outcome:
    """How a check ended, with the figures that it had measured by then."""

    check: str
    title: str
    status: Status
    seconds: float
    figures: tuple[Figure, ...] = ()
    reason: str = ""  # why it failed or was skipped: the last line of its error
    log: str = field(default="", repr=False)  # the end of what it printed

    @property
    def passed(self) -> bool:
        """Whether it ran to its end and every figure keeps its target; a skipped check passes."""
        kept = all(figure.verdict != "FAIL" for figure in self.figures)
        return self.status in ("ok", "skipped") and kept


def short(value: float | str) -> str:
    """A number with three digits, as people read it."""
    if isinstance(value, str):
        return value
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.1e}"
    if abs(value) >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each figure, and one for each check that has none; Markdown, to paste."""
    head = ("check", "figure", "measured", "target", "verdict", "s")
    return markdown(head, (row for outcome in outcomes for row in _rows(outcome)))


def _rows(outcome: Outcome) -> list[tuple[str, ...]]:
    seconds = f"{outcome.seconds:.0f}"
    rows = [
        (
            outcome.check if not place else "",
            figure.name,
            f"{short(figure.value)} {figure.unit}".strip(),
            figure.target,
            figure.verdict,
            seconds if not place else "",
        )
        for place, figure in enumerate(outcome.figures)
    ]
    if outcome.status != "ok":
        verdict = "-" if outcome.status == "skipped" else "FAIL"
        reason = " ".join(outcome.reason.split()).replace("|", r"\|")[:WIDTH]
        rows.append((outcome.check, f"{outcome.status}: {reason}", "", "", verdict, seconds))
    return rows or [(outcome.check, outcome.title, "", "", "-", seconds)]


def write(path: Path, machine: dict[str, str], outcomes: Iterable[Outcome]) -> None:
    """Machine and outcomes as JSON: complete after every check, whatever comes then."""
    record = {
        "machine": machine,
        "checks": [
            asdict(outcome)
            | {"passed": outcome.passed, "verdicts": [f.verdict for f in outcome.figures]}
            for outcome in outcomes
        ],
    }
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
