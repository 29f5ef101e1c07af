"""The students of a report that are to be published, with all that their cards say."""

from collections.abc import Hashable, Mapping, Sequence
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
    grid = pd.read_csv(report.folder / GRID, dtype=str, keep_default_na=False)
    own = grid.loc[grid["kind"] == "method"].drop_duplicates("student_id")
    wanted = []
    for name in names:
        by_id = own.loc[own["student_id"] == name]
        matches = by_id if len(by_id) else own.loc[own["method"] == name]
        if matches.empty:
            methods = ", ".join(own["method"].unique())
            raise ValueError(
                f"no student of {report.folder} is of a method {name}, nor has it as its id: "
                f"its methods are {methods}; ids are in {report.folder / GRID}"
            )
        wanted.append(matches.drop_duplicates(["teacher", "student"]))
    rows = pd.concat(wanted).drop_duplicates("student_id") if wanted else own[:0]
    return [_student(report, row) for row in rows.to_dict("records")]


def _student(report: FinishedReport, row: Mapping[Hashable, str]) -> Student:
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
