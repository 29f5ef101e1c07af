"""Student text as often as the student seems to need it, much of it used again.

J. Ko, S. Kim, T. Chen, S. Yun, 2024. DistiLLM: Towards Streamlined Distillation for Large Language
Models. arXiv:2402.03898; rules and defaults from their repository (jongwooko/distillm). A step is
of the student's text with probability φ: newly written while the replay buffer fills, then less and
less often, else from the buffer. φ rises when the held-out NLL is worse by a margin than when φ
last rose. Departure: the NLL is first measured in the course of training, not before it. With few
measurements φ may never rise, and all text stays as drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.data.batch import Text
from pipeline.generation import sampler
from pipeline.generation.rollouts import StepContext, respond, restored, stored
from pipeline.methods.ranges import Count, NonNegative, Share
from pipeline.settings.generation import Sampling


@dataclass(frozen=True)
class Policy:
    """Each step trains on drawn, newly generated or replayed texts."""

    is_off_policy = False
    decoding_passes = 0.25  # it generates now and then

    first_share: Share = 0.0  # φ at the start
    share_rise: Share = 0.1
    margin: NonNegative = 0.1  # nats by which the held-out NLL must be worse
    capacity: Count = 1000  # texts in the buffer; the oldest leave first

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """New student responses, replayed ones, or the drawn texts, by the probabilities above."""
        share = context.state.setdefault("share", self.first_share)
        buffer = context.state.setdefault("buffer", [])
        luck = context.rng.random()
        if luck >= share:
            return list(batch)

        new_share = share * (1 - context.step / context.steps)
        if luck >= new_share and len(buffer) >= self.capacity:
            chosen = context.rng.permutation(len(buffer))[: len(batch)]
            # without log-probabilities, as the student has changed
            replayed = restored([buffer[place] for place in chosen])
            return [replace(text, log_probs=()) for text in replayed]
        new = respond(batch, [context.student], sampler(Sampling()), context)
        buffer.extend(stored(new))
        del buffer[: -self.capacity]
        return new

    def on_validation(self, state: dict[str, Any], nll_nats: float) -> None:
        """Raises φ where the held-out NLL is worse than when it was last raised."""
        reference = state.setdefault("reference_nats", nll_nats)
        if nll_nats >= reference + self.margin:
            state["share"] = min(1.0, state.get("share", self.first_share) + self.share_rise)
            state["reference_nats"] = nll_nats
