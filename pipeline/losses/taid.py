"""TAID: the target moves from the student to the teacher in the course of training.

M. Shing, K. Misaki, H. Bao, S. Yokoi, T. Akiba, 2025. TAID: Temporally Adaptive Interpolated
Distillation for Efficient Knowledge Transfer in Language Models. arXiv:2501.16937; details from
their repository (SakanaAI/TAID). t never falls behind a straight line from its start to its end,
and runs ahead of it while the loss goes down. Departures: the target's entropy stays in the loss,
so that zero means equal; the repository takes the relative change of the cross entropy. Cross
entropy or losses on hidden states that a row adds are in the loss whose change moves t; whether the
repository leaves them out there was not checked. A base other than forward KL is ours. On a sparse
support the bucket is interpolated as if it were one token.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.losses import Loss as BaseLoss
from pipeline.losses import base_divergence
from pipeline.methods.ranges import BaseDivergence, OpenShare, PositiveShare, Share


@dataclass(frozen=True)
class Loss:
    """D(r, q) with r ∝ q^(1-t) p^t, q held constant in r, and D forward KL unless `base` says."""

    first: Share = 0.4  # t at the start
    last: PositiveShare = 1.0  # t at the end
    stride: Share = 5e-4  # α
    inertia: OpenShare = 0.99  # β, of the momentum
    base: BaseDivergence = "forward_kl"  # D, with its own defaults

    divergence = cached_property(base_divergence)

    def __post_init__(self) -> None:
        """Builds D now: a compiled step can't import it."""
        assert isinstance(self.divergence, BaseLoss)

    def initial_state(self) -> dict[str, float]:
        """t, and the momentum of the loss's relative fall."""
        return {"t": self.first, "momentum": 0.0}

    def update_state(
        self, state: dict[str, float], loss_nats: float, progress: float
    ) -> dict[str, float]:
        """The next t; the first step only notes its loss."""
        before = state.get("loss_nats")
        if before is None:
            return state | {"loss_nats": loss_nats}

        fall = (before - loss_nats) / before if before > 0 else 0.0
        momentum = self.inertia * state["momentum"] + (1 - self.inertia) * fall
        ahead = state["t"] + self.stride * _sigmoid(momentum) * (1 - state["t"])
        line = self.first + (self.last - self.first) * progress
        t = min(self.last, max(line, ahead))
        return {"t": t, "momentum": momentum, "loss_nats": loss_nats}

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        t = tokens.state["t"]
        between = ((1 - t) * student.detach() + t * teacher).log_softmax(-1)
        return self.divergence(between, student, tokens)


def _sigmoid(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2  # 1 / (1 + exp(-x)) would overflow
