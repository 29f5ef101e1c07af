"""The students of a report that are to be published, with all that their cards say."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.methods.catalogue import METHODS
from pipeline.publishing.finished import FinishedReport
from pipeline.reporting.analysis.provenance import Manifest
from pipeline.settings.data import AnyTemplate, template_of

GRID = "grid.csv"  # of a published report


@dataclass(frozen=True)
class Student:
    """A trained student and its place in the grid."""

    id: str
    teacher: str
    student: str
    method: str
    seed: int
    scores: pd.DataFrame  # of its evaluation, on whole tasks
    manifest: Manifest
    template: AnyTemplate
    data: Mapping[str, Any]  # the source of its examples, as in the configuration
    base: Mapping[str, Any]  # the source of the model that its training began with

    @property
    def description(self) -> str:
        """The method's title and source, where it is one of the catalogue."""
        method = METHODS.get(self.method)
        return f"{method.title} ({method.source})" if method else f"`{self.method}`"


def chosen(report: FinishedReport, names: Sequence[str]) -> list[Student]:
    """The students of the named methods, of each pair the first seed, and those named by their id.

    Raises: ValueError for a name that is neither.
    """
    rows = list(_distinct(report))
    wanted: dict[str, dict[str, str]] = {}
    for name in names:
        by_id = [row for row in rows if row["student_id"] == name]
        matches = by_id or [row for row in rows if row["method"] == name]
        if not matches:
            methods = ", ".join(dict.fromkeys(row["method"] for row in rows))
            raise ValueError(
                f"no student of {report.folder} is of a method {name}, nor has it as its id: "
                f"its methods are {methods}; ids are in {report.folder / GRID}"
            )
        first_seed = {(row["teacher"], row["student"]): row for row in reversed(matches)}
        wanted |= {row["student_id"]: row for row in reversed(first_seed.values())}
    return [_student(report, row) for row in wanted.values()]


def _distinct(report: FinishedReport) -> Iterator[dict[str, str]]:
    """The rows of the grid that have a student of their own, each student once."""
    seen: set[str] = set()
    with (report.folder / GRID).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "method" and row["student_id"] not in seen:
                seen.add(row["student_id"])
                yield row


def _student(report: FinishedReport, row: Mapping[str, str]) -> Student:
    path, scores = f"students/{row['student_id']}", report.scores
    evaluation = report.manifests[f"evals/{row['eval_id']}"]
    data = report.manifests[evaluation["inputs"]["data"]]["settings"]
    is_own = (scores["id"] == row["eval_id"]) & (scores["slice"] == "")
    measured = scores.loc[is_own & (scores["teacher"] == row["teacher"])]
    return Student(
        id=row["student_id"],
        teacher=row["teacher"],
        student=row["student"],
        method=row["method"],
        seed=int(row["seed"]),
        scores=measured.loc[~measured.duplicated(["task", "metric"])],
        manifest=report.manifests[path],
        template=template_of(data["template"]),
        data=data["examples"],
        base=_origin(report, path),
    )


def _origin(report: FinishedReport, path: str) -> Mapping[str, Any]:
    """The settings of the model that a training began with, or that this was cut from."""
    manifest = report.manifests[path]
    inputs = manifest.get("inputs", {})
    before = inputs.get("start") or inputs.get("base")
    return _origin(report, before) if before in report.manifests else manifest["settings"]
