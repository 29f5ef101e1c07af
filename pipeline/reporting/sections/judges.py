"""Table of what judges prefer, and of what tells how far each can be trusted."""

from collections.abc import Mapping

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Row
from pipeline.reporting.render.table import MISSING, Cell, Column, Heading, Table
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


Judged = tuple[Row, Mapping[str, Measure]]  # what a judge measured of a row's responses to a task


def is_verdict(measure: Measure) -> bool:
    """Whether a measure is what a judge says of a response."""
    return measure.metric.name.partition(":")[0] in VERDICTS


def judges_table(settings: ReportSettings, comparisons: Comparisons) -> Table | None:
    """A row for each judge, task and model whose responses it read; None without a judge."""
    results = comparisons.results
    by_judge: dict[tuple[str, str], dict[str, Measure]] = {}  # by the metric without the judge
    for measure in results.measures:
        name, _, judge = measure.metric.name.partition(":")
        if name in (*VERDICTS, *HEADINGS):
            by_judge.setdefault((judge, measure.task), {})[name] = measure
    if not by_judge:
        return None
    judges = Evaluation.model_validate(settings.config.get("evaluation", {})).judges
    items = {
        (pair.teacher, pair.student, judge, task): [
            (row, measures)
            for row in results.rows(pair)
            if (row, _verdict(measures)) in results.means
        ]
        for pair in results.pairs
        for (judge, task), measures in by_judge.items()
    }
    measures = [measure for of_judge in by_judge.values() for measure in of_judge.values()]
    data = score_data(comparisons, measures)
    data.insert(list(data).index("task"), "judge", data["metric"].str.partition(":")[2])
    return Table.of(
        "judges",
        f"{CAPTION} {seeds_sentence(results)}",
        _columns(comparisons),
        items,
        ("Teacher", "Student", "Judge", "Task"),
        data,
        lambda teacher, student, judge, task: (
            f"{results.title(Pair(teacher, student))}: {_about(judge, judges.get(judge))}; {task}"
        ),
    )


def _verdict(measures: Mapping[str, Measure]) -> Measure:
    """What a judge says of a response, averaged over items."""
    return next(measures[name] for name in VERDICTS if name in measures)


def _about(name: str, judge: Judge | None) -> str:
    """A judge's name, its model, and what it was asked, where the configuration has it."""
    if judge is None:
        return f"{name or 'a judge without a name'} (not in the configuration)"
    served = ", behind an endpoint" if judge.endpoint else ""
    opponent = "the reference" if judge.against == GOLD else judge.against
    asked = f"against {opponent}" if judge.kind == "pairwise" else judge.kind
    return f"{name}: {judge.model}{served}, {asked}"


def _columns(comparisons: Comparisons) -> tuple[Column[Judged], ...]:
    def score_of(row: Row, measure: Measure | None) -> Cell:
        return score_cell(comparisons, row, measure) if measure else Cell(MISSING)

    def items_cell(judged: Judged) -> Cell:
        row, measures = judged
        count = comparisons.results.matrix(row, _verdict(measures)).weights.shape[1]
        return Cell(str(count), count, link=SAMPLES)

    return (
        Column.method(lambda judged: judged[0]),
        Column(Heading("Verdict"), lambda judged: score_of(judged[0], _verdict(judged[1]))),
        *(
            Column(heading, lambda judged, name=name: score_of(judged[0], judged[1].get(name)))
            for name, heading in HEADINGS.items()
        ),
        Column(Heading("Items", "with their texts"), items_cell),
    )
