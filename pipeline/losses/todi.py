"""ToDi: at each outcome forward and reverse KL, weighed by which of the two is the likelier.

S. Jung, S. Yoon, D. Kim, H. Lee, 2025. ToDi: Token-wise Distillation via Fine-Grained Divergence
Control. arXiv:2505.16297; details from their repository (jungseongryong/ToDi). No gradient flows
through the weights. They are p / (p + q) and q / (p + q), so the value is Jeffreys' divergence
KL(p ‖ q) + KL(q ‖ p) exactly; what is new is the gradient. Departures: no cross entropy mixed in
(theirs: half) and temperature 1 (theirs: 2), as for all methods here.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext


@dataclass(frozen=True)
class Loss:
    """Σ [w p log(p/q) + (1 - w) q log(q/p)] with w = sigmoid(log(p/q)), held constant."""

    needs_only_distributions = True
    on_sparse_support = "lower"  # in value, which is Jeffreys' divergence

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        log_ratio = teacher - student
        w = log_ratio.detach().sigmoid()
        return ((w * teacher.exp() - (1 - w) * student.exp()) * log_ratio).sum(-1)
