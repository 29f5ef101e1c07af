"""Scores of several reports in one leaderboard, a table for each protocol.

A protocol is the configuration's `protocol`, or the experiment's name where there is none. Reports
of one protocol have to be measured alike: on the same examples and tokens, with the same settings
of the evaluation and the same lm-eval. Measures relative to a teacher are left out, for each report
has its own teachers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.publishing.finished import FinishedReport
from pipeline.reporting.analysis.load import KINDS
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.own_tasks import metrics_of, own_tasks
from pipeline.reporting.analysis.provenance import flat
from pipeline.reporting.analysis.scores import measures_of

CELL = ["report", "teacher", "student", "method"]
MEASURED_BY = ("data", "tokens")  # stages whose content decides what a score means


@dataclass(frozen=True)
class Mean:
    """A mean over training seeds."""

    value: float
    spread: float  # sample standard deviation; NaN for one seed
    seeds: int


@dataclass(frozen=True)
class Entry:
    """A row of a leaderboard."""

    report: str
    teacher: str
    student: str
    method: str
    means: Mapping[Measure, Mean]

    @property
    def seeds(self) -> int:
        """The number of training seeds."""
        return max(mean.seeds for mean in self.means.values())


@dataclass(frozen=True)
class Leaderboard:
    """The entries of a protocol, the best by its first ranked measure first."""

    protocol: str
    reports: Mapping[str, FinishedReport]  # by the name in the table
    measures: Sequence[Measure]
    entries: Sequence[Entry]

    def is_best(self, entry: Entry, measure: Measure) -> bool:
        """Whether no trained method of the table has a better mean."""
        trained = [each for each in self.entries if each.method not in KINDS]
        if measure.metric.higher_is_better is None or entry not in trained:
            return False
        return measure in entry.means and loss(entry, measure) == min(
            loss(each, measure) for each in trained
        )


def loss(entry: Entry, measure: Measure) -> float:
    """What is lowest for the best entry; infinite for one without the measure."""
    if measure not in entry.means:
        return math.inf
    value = entry.means[measure].value
    return -value if measure.metric.higher_is_better else value


def merge(paths: Sequence[Path]) -> list[Leaderboard]:
    """The leaderboards of the reports in these folders, in their order.

    Raises: ValueError where a folder has no report, or two of a protocol were not measured alike.
    """
    if len(set(map(str, paths))) < len(paths):
        raise ValueError("the same folder is named twice")
    names = [path.resolve().name for path in paths]  # where these tell them apart
    names = names if len(set(names)) == len(names) else list(map(str, paths))
    groups: dict[str, dict[str, FinishedReport]] = {}
    for name, path in zip(names, paths, strict=True):
        report = FinishedReport.read(path)
        protocol = str(report.config.get("protocol") or f"experiment {report.name}")
        groups.setdefault(protocol, {})[name] = report
    for protocol, reports in groups.items():
        _check_alike(protocol, *reports.values())
    return [_leaderboard(protocol, reports) for protocol, reports in groups.items()]


def tidy(leaderboards: Sequence[Leaderboard]) -> pd.DataFrame:
    """All numbers, a row for each entry and measure."""
    return pd.DataFrame(
        {
            "protocol": board.protocol,
            **{name: getattr(entry, name) for name in CELL},
            **measure.columns,
            "value": mean.value,
            "sd": mean.spread,
            "n_seeds": mean.seeds,
        }
        for board in leaderboards
        for entry in board.entries
        for measure, mean in entry.means.items()
    )


def _check_alike(protocol: str, first: FinishedReport, *others: FinishedReport) -> None:
    expected = _conditions(first)
    for other in others:
        conditions = _conditions(other)
        unequal = [
            f"{name}: {_listed(expected.get(name))} and {_listed(conditions.get(name))}"
            for name in dict.fromkeys([*expected, *conditions])
            if expected.get(name) != conditions.get(name)
        ]
        if unequal:
            raise ValueError(
                f"{first.folder} and {other.folder} are both of the protocol {protocol!r}, but "
                f"were not measured alike ({'; '.join(unequal)}): leave one out, or give its "
                "experiment another name"
            )


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _conditions(report: FinishedReport) -> dict[str, object]:
    """All that has to be equal for scores to mean the same."""
    evaluations: dict[str, object] = {}
    contents: dict[str, set[str]] = {}
    for path, manifest in report.manifests.items():
        stage = path.partition("/")[0]
        if stage == "evals":
            evaluations |= flat(manifest.get("settings", {}), "evaluation")
        if stage in MEASURED_BY:
            contents.setdefault(f"content of {stage}", set()).add(manifest.get("content", ""))
    evaluations |= {f"files of {task.name}": task.digest for task in own_tasks(report.manifests)}
    versions = {"lm_eval": report.versions.get("lm_eval")}
    return {**evaluations, **{name: sorted(each) for name, each in contents.items()}, **versions}


def _leaderboard(protocol: str, reports: Mapping[str, FinishedReport]) -> Leaderboard:
    named = [report.scores.assign(report=name) for name, report in reports.items()]
    scores = pd.concat(named, ignore_index=True)
    scores = scores.loc[(scores["slice"] == "") & ~scores["repeats"]]
    own = metrics_of(*(report.manifests for report in reports.values()))
    known = measures_of(scores, own)
    measures = [each for each in known if not each.metric.relative_to_teacher]
    entries = list(_entries(scores, measures))
    ranked = [measure for measure in measures if measure.metric.higher_is_better is not None]
    if ranked:
        entries.sort(key=lambda entry: loss(entry, ranked[0]))
    return Leaderboard(protocol, reports, measures, entries)


def _entries(scores: pd.DataFrame, measures: Sequence[Measure]) -> Iterator[Entry]:
    by_name = {(measure.task, measure.metric.name): measure for measure in measures}
    grouped = scores.groupby([*CELL, "task", "metric"], sort=False)["value"]
    means = grouped.agg(["mean", "std", "count"])
    of_cells: dict[tuple[str, ...], dict[Measure, Mean]] = {}
    for (*cell, task, metric), *mean in means.itertuples(name=None):
        if measure := by_name.get((task, metric)):
            of_cells.setdefault(tuple(cell), {})[measure] = Mean(*mean)
    for cell, of_cell in of_cells.items():
        yield Entry(*cell, means=of_cell)
