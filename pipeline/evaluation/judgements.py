"""The comparisons that a judge is asked for, its answers as rows, and the measures of both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.artifacts import schemas
from pipeline.artifacts.schemas import Row
from pipeline.evaluation.judge_prompts import (
    LETTERS,
    RATINGS,
    Answer,
    pairwise_measures,
    pairwise_questions,
    reward_measures,
    rubric_measures,
    rubric_question,
)
from pipeline.evaluation.records import Metric, item_rows
from pipeline.settings.judge import JudgeJob, Kind

CHUNK = 100  # responses in a part: a killed job loses no more


@dataclass(frozen=True)
class Comparison:
    """Some responses to a task, each beside another one or alone."""

    kind: Kind
    task: str
    opponent: str  # id of its evaluation; empty: the reference response
    teacher: str  # artifact id, in whose tables the comparison stands; empty: in all
    rows: Sequence[Row]
    others: Sequence[str] | None  # the other responses; None: each is rated alone

    def questions(self, criteria: str) -> tuple[list[str], Sequence[str]]:
        """The questions, one or two for each response in their order, and the allowed answers."""
        if self.others is None:
            return [rubric_question(row, criteria) for row in self.rows], RATINGS
        pairs = zip(self.rows, self.others, strict=True)
        asked = [pairwise_questions(row, other, criteria) for row, other in pairs]
        return [question for both in asked for question in both], LETTERS

    def verdicts(self, answers: Sequence[Answer]) -> pa.Table:
        """The answers to all questions as rows of VERDICTS."""
        places = [0] if self.others is None else [1, 2]
        keys = [(row, place) for row in self.rows for place in places]
        columns = {
            "task": [self.task] * len(keys),
            "decoding_seed": [row["decoding_seed"] for row, _ in keys],
            "example_id": [row["example_id"] for row, _ in keys],
            "opponent": [self.opponent] * len(keys),
            "place": [place for _, place in keys],
            "choice": [answer.choice for answer in answers],
            "text": [answer.text for answer in answers],
            "log_prob": [answer.log_prob for answer in answers],
        }
        return pa.table(columns, schema=schemas.VERDICTS)

    def items(self, judge: str, answers: Sequence[Answer]) -> pa.Table:
        """The measures of all responses as rows of ITEMS."""
        if self.kind == "reward":
            measures = reward_measures(answers)
        elif self.others is None:
            measures = rubric_measures(answers)
        else:
            own = [row["output"] for row in self.rows]
            measures = pairwise_measures(answers, own, self.others)
        seeds = np.array([row["decoding_seed"] for row in self.rows])
        ids = np.array([row["example_id"] for row in self.rows])
        tables = []
        for name, values in measures.items():
            for seed in np.unique(seeds):
                chosen = seeds == seed
                metric = Metric(
                    self.task, f"{name}:{judge}", decoding_seed=int(seed), teacher=self.teacher
                )
                weights = np.isfinite(values[chosen]).astype(float)
                tables.append(item_rows(metric, ids[chosen].tolist(), values[chosen], weights))
        return pa.concat_tables(tables)

    def parts(self) -> Iterator["Comparison"]:
        """The same in parts of a few responses each."""
        for first in range(0, len(self.rows), CHUNK):
            part = slice(first, first + CHUNK)
            others = self.others if self.others is None else self.others[part]
            yield replace(self, rows=self.rows[part], others=others)


def comparisons(
    settings: JudgeJob, outputs: pa.Table, others: Mapping[str, pa.Table]
) -> Iterator[Comparison]:
    """What a judge is to compare or rate; `others` are the opponents' OUTPUTS by evaluation.

    Raises:
        ValueError: for a task without responses.
    """
    for task in settings.tasks:
        rows = [row for row in outputs.to_pylist() if row["task"] == task]
        if not rows:
            raise ValueError(f"the evaluation has no responses of {task} to judge")
        kind = settings.kind
        if kind != "pairwise":
            yield Comparison(kind, task, "", "", rows, None)
        elif settings.opponents is None:
            yield Comparison(kind, task, "", "", rows, [row["references"][0] for row in rows])
        for opponent in settings.opponents or ():
            written = {
                (row["decoding_seed"], row["example_id"]): row["output"]
                for row in others[opponent.evaluation].to_pylist()
                if row["task"] == task
            }
            beside = [written[row["decoding_seed"], row["example_id"]] for row in rows]
            yield Comparison(kind, task, opponent.evaluation, opponent.teacher, rows, beside)


def answers_of(verdicts: pa.Table) -> list[Answer]:
    """The answers in rows of VERDICTS."""
    return [
        Answer(row["choice"], row["text"], row["log_prob"])
        for row in verdicts.select(["choice", "text", "log_prob"]).to_pylist()
    ]
