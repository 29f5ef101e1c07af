"""AdaKD: the most difficult tokens only, each at a temperature of its own.

X. Xie, Z. Xue, J. Wu, J. Li, Y. Wang, X. Hu, Y. Liu, J. Zhang, 2025. LLM-Oriented Token-Adaptive
Knowledge Distillation. arXiv:2510.11615; details from their repository (SassyRong/AdaKD), script
AdaKD.sh: Hellinger distance, reverse KL, c = 0.5. Departures: ranks and median are over the whole
optimizer step, where the repository takes a micro-batch; the difficulty, and so the temperature,
is held constant, where its gradient leaks through; a base other than reverse KL is ours.
Cross entropy or losses on hidden states that a row adds are in the loss that moves r; whether the
repository leaves them out there was not checked. On a sparse support the bucket is tempered as if
it were one token.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.losses import Loss as BaseLoss
from pipeline.losses import base_divergence
from pipeline.methods.ranges import BaseDivergence, NonNegative, OpenShare, PositiveShare, Share


@dataclass(frozen=True)
class Loss:
    """Mean of T² D(p_T, q_T), by default KL(q_T ‖ p_T), over the share r of the hardest tokens.

    T = exp(-c tanh(log(s / m))), s the difficulty and m its median among them: hard tokens are
    sharpened.
    """

    temperature_scale: NonNegative = 0.5  # c
    least_share: PositiveShare = 0.1  # of the tokens, that r never falls below
    tolerance: OpenShare = 0.05  # relative change of the smoothed loss that moves r
    stride: OpenShare = 0.05  # by how much of itself r then moves
    smoothing: OpenShare = 0.99  # of the loss, a step
    warmup_share: Share = 0.05  # of the training, before r moves
    base: BaseDivergence = "reverse_kl"  # D, with its own defaults

    divergence = cached_property(base_divergence)

    def __post_init__(self) -> None:
        """Builds D now: a compiled step can't import it."""
        assert isinstance(self.divergence, BaseLoss)

    def initial_state(self) -> dict[str, float]:
        """All tokens are kept at first."""
        return {"share": 1.0}

    def update_state(
        self, state: dict[str, float], loss_nats: float, progress: float
    ) -> dict[str, float]:
        """The share r shrinks while the loss falls, and grows again where it rises."""
        smooth = self.smoothing * state.get("smooth_nats", loss_nats)
        smooth += (1 - self.smoothing) * loss_nats
        state = state | {"smooth_nats": smooth}
        if "reference_nats" not in state:
            return state | ({"reference_nats": smooth} if progress > self.warmup_share else {})

        share, reference = state["share"], state["reference_nats"]
        if smooth > reference * (1 + self.tolerance):
            share = min(1.0, share * (1 + self.stride))
        elif smooth < reference * (1 - self.tolerance):
            share = max(self.least_share, share * (1 - self.stride))
        else:
            return state
        return state | {"share": share, "reference_nats": smooth}

    def step_statistic(
        self, teacher: LogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        """s: the Hellinger distance between student and teacher."""
        apart = (teacher / 2).exp() - (student / 2).exp()
        return (apart.square().sum(-1) / 2).sqrt()

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        assert tokens.step_statistics is not None
        least, median, chosen = self._hardest(tokens.step_statistics, tokens.state["share"])
        s = self.step_statistic(teacher, student.detach(), tokens)
        temperature = self._temperature(s, median)[:, None]
        p, q = ((logits / temperature).log_softmax(-1) for logits in (teacher, student))
        losses = temperature[:, 0].square() * self.divergence(p, q, tokens)
        # the loop divides by all tokens, the mean is over the chosen
        return torch.where(s >= least, losses * len(tokens.step_statistics) / chosen, 0)

    def _hardest(
        self, scores: Float[Tensor, " step_tokens"], share: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """The least, the median and the count of the share with the greatest scores.

        Those equal to the least are among them. No number of it is needed on the host.
        """
        ranked = scores.sort(descending=True).values
        wanted = torch.full((), share, dtype=torch.float64, device=scores.device) * len(scores)
        least = ranked.gather(0, wanted.long().clamp(min=1)[None] - 1)
        chosen = (scores >= least).sum(0, keepdim=True)
        median = ranked.gather(0, chosen - 1 - (chosen - 1) // 2)  # the lower one, as torch has it
        return least[0], median[0], chosen[0].to(scores.dtype)

    def _temperature(self, s: PerToken, m: Float[Tensor, ""]) -> PerToken:
        # tanh(log(s / m)) without the logarithm; 0 / 0, where all are equal, means T = 1
        total = s.square() + m.square()
        tanh = torch.where(total > 0, (s.square() - m.square()) / total, 0)
        return (-self.temperature_scale * tanh).exp()
