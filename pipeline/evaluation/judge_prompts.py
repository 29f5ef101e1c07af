"""What a judge is asked, and what its answers are worth.

Pairwise as in L. Zheng et al., 2023, Judging LLM-as-a-Judge, arXiv:2306.05685: both orders are
asked, because judges prefer a place. A response wins an item by the mean over both orders of 1 for
a win, 1/2 for a tie and 0 for a loss: where the orders name different winners it is a tie.

    judge_win                    win rate, 0 to 100
    judge_win_length_controlled  the same for responses of equal length
                                 (`pipeline.statistics.length_control`)
    judge_disagreement           share of items whose two orders differ in the verdict
    judge_first                  share of verdicts for the response shown first, ties halved
    judge_score                  rating from 1 to 10
    judge_reward                 what a reward model gives the response
    judge_unread                 share of answers that are none of those allowed: they count as
                                 ties, and give no rating
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.artifacts.schemas import Row
from pipeline.statistics.length_control import length_controlled

LETTERS = ("A", "B", "C")
RATINGS = tuple(map(str, range(1, 11)))

PAIRWISE = """Two responses to a request are shown below. Decide which of them is better: look at \
{criteria}. Neither the order in which they are shown nor their length may count.

[Request]
{prompt}
[End of request]

[Response A]
{first}
[End of response A]

[Response B]
{second}
[End of response B]

Answer with one letter and nothing else: A if response A is better, B if response B is better, or \
C if they are equally good.
"""

RUBRIC = """A response to a request is shown below, with a reference that answers it well. \
Rate the response: look at {criteria}.

[Request]
{prompt}
[End of request]

[Reference]
{reference}
[End of reference]

[Response]
{response}
[End of response]

Answer with a whole number from 1 (useless) to 10 (as good as can be) and nothing else.
"""


@dataclass(frozen=True)
class Answer:
    """A judge's answer to one question."""

    choice: str | None  # of those allowed; None where the text is none of them
    text: str  # as the judge wrote it
    log_prob: float  # of the choice among those allowed; NaN where a judge gives text alone


def pairwise_questions(row: Row, opponent: str, criteria: str) -> tuple[str, str]:
    """The response of a row of OUTPUTS beside another: shown first, and shown second."""
    request, own = {"criteria": criteria, "prompt": row["prompt"]}, row["output"]
    return (
        PAIRWISE.format(**request, first=own, second=opponent),
        PAIRWISE.format(**request, first=opponent, second=own),
    )


def rubric_question(row: Row, criteria: str) -> str:
    """The response of a row of OUTPUTS beside its first reference."""
    return RUBRIC.format(
        criteria=criteria,
        prompt=row["prompt"],
        reference=row["references"][0],
        response=row["output"],
    )


def pairwise_measures(
    answers: Sequence[Answer], own: Sequence[str], others: Sequence[str]
) -> dict[str, np.ndarray]:
    """The measures of items from answers to their two questions, in the order of the items."""
    for_first = {"A": 1.0, "B": 0.0}
    shown_first = np.array([for_first.get(answer.choice or "", 0.5) for answer in answers])
    by_order = shown_first.reshape(-1, 2)
    wins = np.stack([by_order[:, 0], 1 - by_order[:, 1]], axis=1)
    lengths = [len(mine) - len(other) for mine, other in zip(own, others, strict=True)]
    mean = wins.mean(axis=1)
    return {
        "judge_win": 100 * mean,
        "judge_win_length_controlled": 100 * length_controlled(mean, np.array(lengths, float)),
        "judge_disagreement": (wins[:, 0] != wins[:, 1]).astype(float),
        "judge_first": by_order.mean(axis=1),
        "judge_unread": _unread(answers).reshape(-1, 2).mean(axis=1),
    }


def reward_measures(answers: Sequence[Answer]) -> dict[str, np.ndarray]:
    """The rewards of items."""
    return {"judge_reward": np.array([float(answer.text) for answer in answers])}


def rubric_measures(answers: Sequence[Answer]) -> dict[str, np.ndarray]:
    """The measures of items from answers to their question; a rating that is none is NaN."""
    ratings = [float(answer.choice) if answer.choice else np.nan for answer in answers]
    return {"judge_score": np.array(ratings), "judge_unread": _unread(answers)}


def _unread(answers: Sequence[Answer]) -> np.ndarray:
    return np.array([float(answer.choice is None) for answer in answers])
