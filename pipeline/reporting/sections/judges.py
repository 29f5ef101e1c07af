"""Table of what judges prefer, and of what tells how far each can be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Column,
    Heading,
    Table,
    method_column,
    table,
)
from pipeline.reporting.sections.score_tables import score_cell, score_data, seeds_sentence
from pipeline.settings.evaluation import Evaluation
from pipeline.settings.judge import GOLD, Judge
from pipeline.settings.report import ReportSettings

VERDICTS = ("judge_win", "judge_score", "judge_reward")  # one of each kind of judge
HEADINGS = {
    "judge_win_length_controlled": Heading("Length-controlled", "0-100"),
    "judge_disagreement": Heading("Orders disagree", "share"),
    "judge_first": Heading("Prefers the first", "share"),
    "judge_unread": Heading("Unread", "share"),
}
SAMPLES = "samples"  # the section of the page with the responses themselves
CAPTION = (
    "Verdict: of a pairwise judge the win rate from 0 to 100 over both orders, of a rubric the "
    "rating from 1 to 10, of a reward model the reward on its own scale. Length-controlled: the "
    "win rate between responses of equal length. Orders disagree: the items whose two orders "
    "differ in the verdict, all of them with a judge that looks at the place alone, half with "
    "one that chooses at random; orders that name different winners make a tie. Prefers the "
    "first: 0.5 without a preference for a place. Unread: answers of an endpoint that are none of "
    "those allowed. Letters and bold type are those of the scores. Intervals say nothing about "
    f"the judge: another may prefer other responses. {MISSING}: not measured, or not defined there."
)


@dataclass(frozen=True)
class Judged:
    """A row of the main table, and what a judge measured of its responses to a task."""

    row: Row
    measures: Mapping[str, Measure]  # by the metric's name without the judge's

    @property
    def verdict(self) -> Measure:
        """What the judge says of a response, averaged over items."""
        return next(self.measures[name] for name in VERDICTS if name in self.measures)


def is_verdict(measure: Measure) -> bool:
    """Whether a measure is what a judge says of a response."""
    return measure.metric.name.partition(":")[0] in VERDICTS


def judges_table(settings: ReportSettings, comparisons: Comparisons) -> Table | None:
    """A row for each judge, task and model whose responses it read; None without a judge."""
    results = comparisons.results
    by_judge = _measures(results)
    if not by_judge:
        return None
    judges = Evaluation.model_validate(settings.config.get("evaluation", {})).judges
    items = {
        (pair.teacher, pair.student, judge, task): [
            judged
            for judged in (Judged(row, measures) for row in results.rows(pair))
            if (judged.row, judged.verdict) in results.means
        ]
        for pair in results.pairs
        for (judge, task), measures in by_judge.items()
    }

    def title(teacher: str, student: str, judge: str, task: str) -> str:
        return f"{results.title(Pair(teacher, student))}: {about(judge, judges[judge])}; {task}"

    groups = ("Teacher", "Student", "Judge", "Task")
    caption = f"{CAPTION} {seeds_sentence(results)}"
    data = _data(comparisons, by_judge)
    return table("judges", caption, _columns(comparisons), items, groups, data, title)


def about(name: str, judge: Judge) -> str:
    """A judge's name, its model, and what it was asked."""
    served = ", behind an endpoint" if judge.endpoint else ""
    opponent = "the reference" if judge.against == GOLD else judge.against
    asked = f"against {opponent}" if judge.kind == "pairwise" else judge.kind
    return f"{name}: {judge.model}{served}, {asked}"


def _measures(results: Results) -> dict[tuple[str, str], dict[str, Measure]]:
    """What each judge measured on each task, by the metric's name without the judge's."""
    by_judge: dict[tuple[str, str], dict[str, Measure]] = {}
    for measure in results.measures:
        name, _, judge = measure.metric.name.partition(":")
        if name in (*VERDICTS, *HEADINGS):
            by_judge.setdefault((judge, measure.task), {})[name] = measure
    return by_judge


def _columns(comparisons: Comparisons) -> tuple[Column[Judged], ...]:
    def cell_of(row: Row, measure: Measure | None) -> Cell:
        return score_cell(comparisons, row, measure) if measure else Cell(MISSING)

    def items_cell(judged: Judged) -> Cell:
        count = comparisons.results.matrix(judged.row, judged.verdict).weights.shape[1]
        return Cell(str(count), count, link=SAMPLES)

    return (
        method_column(lambda judged: judged.row),
        Column(Heading("Verdict"), lambda judged: cell_of(judged.row, judged.verdict)),
        *(
            Column(heading, lambda one, name=name: cell_of(one.row, one.measures.get(name)))
            for name, heading in HEADINGS.items()
        ),
        Column(Heading("Items", "with their texts"), items_cell),
    )


def _data(
    comparisons: Comparisons, by_judge: Mapping[tuple[str, str], Mapping[str, Measure]]
) -> pd.DataFrame:
    measures = [measure for measures in by_judge.values() for measure in measures.values()]
    data = score_data(comparisons, measures)
    data.insert(list(data).index("task"), "judge", data["metric"].str.partition(":")[2])
    return data
