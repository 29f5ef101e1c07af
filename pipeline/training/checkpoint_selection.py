"""Which weights a training ends with: the last ones, or the best of those that were validated."""

import math
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from pipeline.models.sharding import whole_state
from pipeline.models.trainable import learned_state
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.settings.training import Training


@dataclass(frozen=True)
class BestWeights:
    """The weights of the best validation so far, in main memory."""

    step: int
    score: float  # greater is better
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Validation:
    """What was measured on held-out texts."""

    nll_nats: float
    rouge_l: float | None = None  # 0 to 100; None unless weights are chosen by it

    def score(self, training: Training) -> float:
        """The measure that weights are chosen by; greater is better."""
        if training.keep_by == "nll":
            return -self.nll_nats
        assert self.rouge_l is not None
        return self.rouge_l


def better(
    best: BestWeights | None,
    student: PreTrainedModel,
    step: int,
    score: float,
    ranks: Ranks = ALONE,
) -> BestWeights:
    """The student's weights if they score better than the best ones, which win a tie.

    A score that is no number is the worst. Of several ranks the first one alone has a copy of them.
    """
    score = -math.inf if math.isnan(score) else score
    if best is not None and best.score >= score:
        return best
    weights = whole_state(learned_state(student))
    kept = weights.items() if ranks.is_first else ()
    return BestWeights(step, score, {name: value.detach().cpu().clone() for name, value in kept})
