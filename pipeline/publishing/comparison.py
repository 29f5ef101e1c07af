"""What is another in a second report: scores, cells, data, settings, code, versions, machines."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.publishing.finished import FinishedReport
from pipeline.publishing.score_changes import ScoreChanges, compare_scores
from pipeline.reporting.analysis.load import CELL
from pipeline.reporting.analysis.own_tasks import metrics_of, own_tasks
from pipeline.reporting.analysis.provenance import flat

DIGITS = 8  # of a digest that is shown


@dataclass(frozen=True)
class Unequal:
    """Something other than a score that two reports don't have in common."""

    kind: str  # seeds, measure, data, setting, code, commit, version or machine
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """Two reports, compared."""

    before: str  # folder
    after: str
    scores: ScoreChanges
    unequal: tuple[Unequal, ...]


def compare_reports(before: FinishedReport, after: FinishedReport) -> Comparison:
    """All in which the second report is another than the first."""
    return Comparison(
        str(before.folder),
        str(after.folder),
        compare_scores(before.scores, after.scores, metrics_of(before.manifests, after.manifests)),
        tuple(_unequal(before, after)),
    )


def _unequal(before: FinishedReport, after: FinishedReport) -> Iterator[Unequal]:
    # where a report has no record of its files of code, each stage's code is compared
    both = before.sources and after.sources
    values: dict[str, Callable[[FinishedReport], Mapping[str, object]]] = {
        "seeds": _seeds,
        "measure": _measures,
        "data": lambda report: _data(report) | _files_of_tasks(report),
        "setting": lambda report: flat(report.config),
        "code": (lambda report: report.sources) if both else _stages,
        "commit": lambda report: {"commit": report.commits},
        "version": lambda report: report.versions,
        "machine": lambda report: {"machine": report.machines},
    }
    for kind, value_of in values.items():
        first, second = value_of(before), value_of(after)
        for name in dict.fromkeys([*first, *second]):
            if first.get(name) != second.get(name):
                yield Unequal(kind, name, _shown(first.get(name)), _shown(second.get(name)))


def _seeds(report: FinishedReport) -> dict[str, list[str]]:
    """The training seeds of each cell."""
    runs = report.scores[[*CELL, "seed"]].drop_duplicates()
    seeds: dict[str, list[str]] = {}
    for *cell, seed in zip(*(runs[name] for name in runs), strict=True):
        seeds.setdefault(" ".join(cell), []).append(str(seed))
    return {cell: sorted(of_cell) for cell, of_cell in seeds.items()}


def _measures(report: FinishedReport) -> dict[str, str]:
    whole = report.scores.loc[report.scores["slice"] == ""]
    return dict.fromkeys(whole["task"] + " " + whole["metric"], "measured")


def _data(report: FinishedReport) -> dict[str, list[str]]:
    """Digests of the examples that were trained and tested on."""
    contents = (
        manifest.get("content", "")[:DIGITS]
        for path, manifest in report.manifests.items()
        if path.startswith("data/")
    )
    return {"examples": sorted(contents)}


def _files_of_tasks(report: FinishedReport) -> dict[str, str]:
    """Digests of the files that each task of the user's own is made of."""
    return {f"files of {task.name}": task.digest for task in own_tasks(report.manifests)}


def _stages(report: FinishedReport) -> dict[str, list[str]]:
    codes: dict[str, set[str]] = {}
    for path, manifest in report.manifests.items():
        codes.setdefault(path.partition("/")[0], set()).add(str(manifest.get("code", "")))
    return {f"of {stage}": sorted(digests) for stage, digests in codes.items()}


def _shown(value: object) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(each[:DIGITS] if len(each) == 16 else each for each in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
