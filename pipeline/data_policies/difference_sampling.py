"""Part of the texts: those that the teacher finds likelier than the student does, by most.

Y. Gu, H. Zhou, F. Meng, J. Zhou, M. Huang, 2024. MiniPLM: Knowledge Distillation for Pre-Training
Language Models. arXiv:2410.17215; rule and share from their repository (thu-coai/MiniPLM, read in a
fork): of a corpus, the share with the greatest NLL under a small reference model minus that under
the teacher. Where the teacher is no better, a text is too easy, or noise.

Departures: texts of a train set, responses after prompts, where theirs are pre-training documents;
NLL is a mean over the tokens of a text, whose lengths differ, where theirs are all alike; the
reference is the student before its first step, where theirs is a model apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.batch import Text
from pipeline.data_policies import TextNats
from pipeline.generation.rollouts import StepContext
from pipeline.methods.ranges import PositiveShare


@dataclass(frozen=True)
class Policy:
    """Trains on the share of the texts with the greatest NLL_start - NLL_teacher, per token."""

    is_off_policy = True
    decoding_passes = 0.0
    selects_texts = True

    kept_share: PositiveShare = 0.5

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        return list(batch)

    def kept(self, student_nats: TextNats, teacher_nats: TextNats) -> list[int]:
        """Places of the texts that are kept, rising; of equal differences the earlier text's."""
        difference = student_nats - teacher_nats
        count = max(1, int(self.kept_share * len(difference)))
        return sorted(np.argsort(-difference, kind="stable")[:count].tolist())
