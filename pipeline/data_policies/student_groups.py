"""The current student writes several responses to each of fewer prompts.

Z. Shao, P. Wang, Q. Zhu, et al., 2024. DeepSeekMath, whose GRPO compares the responses to a prompt
with each other. arXiv:2402.03300; a group of four is also what Thinking Machines' on-policy
distillation writes. A step has as many texts as with one response to a prompt, so it takes the
first of its drawn prompts alone, and an epoch a part of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.data.batch import Text
from pipeline.generation import sampler
from pipeline.generation.rollouts import StepContext, regenerate
from pipeline.methods.ranges import Count, NonNegative
from pipeline.settings.generation import Sampling


@dataclass(frozen=True)
class Policy:
    """The student's responses to the first prompts of a step, several to each."""

    is_off_policy = False
    decoding_passes = 1.0
    writes_groups = True
    samples_every_text_where = ()  # always

    samples: Count = 4  # to a prompt; the last prompt of a step may have fewer
    temperature: NonNegative = 1.0

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """As many responses as the batch has texts; those to a prompt differ in their draws."""
        prompts = [batch[place // self.samples] for place in range(len(batch))]
        choose = sampler(Sampling(temperature=self.temperature))
        return regenerate(prompts, 1.0, [context.student], choose, context)
