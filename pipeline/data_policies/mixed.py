"""A share of the responses is written by the student as it stands.

R. Agarwal, N. Vieillard, et al., 2024. On-Policy Distillation of Language Models. arXiv:2306.13649,
algorithm 1. Departure: each text, not each batch, is the student's with probability λ, which has
the same expectation and less noise; no gradient flows through the sampling, as in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.data.batch import Text
from pipeline.generation import sampler
from pipeline.generation.rollouts import StepContext, regenerate
from pipeline.methods.ranges import NonNegative, Share
from pipeline.settings.generation import Sampling


@dataclass(frozen=True)
class Policy:
    """Each drawn prompt gets a response of the student's with a fixed probability."""

    is_off_policy = False
    decoding_passes = 1.0

    student_share: Share = 0.5  # λ
    temperature: NonNegative = 1.0

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        choose = sampler(Sampling(temperature=self.temperature))
        return regenerate(batch, self.student_share, [context.student], choose, context)
