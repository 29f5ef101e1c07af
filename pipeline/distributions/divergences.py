"""Divergences between two distributions on the same support, a value for each token, in nats."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.distributions.log_probs import LogProbs, PerToken, target_log_prob

Weight = float | Float[Tensor, "tokens 1"]


def kl(p: LogProbs, q: LogProbs) -> PerToken:
    """KL(p ‖ q). Outcomes that p gives no probability contribute nothing."""
    # the branch not taken may be NaN, but the gradient of a difference is not
    log_ratio = torch.where(p > -torch.inf, p - q, 0)
    return (p.exp() * log_ratio).sum(-1)


def skew_kl(p: LogProbs, q: LogProbs, own_weight: Weight) -> PerToken:
    """KL(p ‖ α p + (1 - α) q) for the weight α of p itself: finite whatever q is."""
    return kl(p, mixture(p, q, own_weight))


def two_sided_kl(p: LogProbs, q: LogProbs, forward_weight: float | PerToken) -> PerToken:
    """Both directions at once: w KL(p ‖ q) + (1 - w) KL(q ‖ p)."""
    return forward_weight * kl(p, q) + (1 - forward_weight) * kl(q, p)


def jsd(p: LogProbs, q: LogProbs, weight_of_p: float) -> PerToken:
    """Generalised: w KL(p ‖ m) + (1 - w) KL(q ‖ m) with m = w p + (1 - w) q and 0 < w < 1."""
    m = mixture(p, q, weight_of_p)
    return weight_of_p * kl(p, m) + (1 - weight_of_p) * kl(q, m)


def alpha_beta(p: LogProbs, q: LogProbs, alpha: float, beta: float) -> PerToken:
    """-1/(αβ) Σ [p^α q^β - α/(α+β) p^(α+β) - β/(α+β) q^(α+β)] for α, β > 0."""
    both = alpha + beta
    apart = (alpha * (both * p).exp() + beta * (both * q).exp()) / both
    return (apart - (alpha * p + beta * q).exp()).sum(-1) / (alpha * beta)


def mixture(p: LogProbs, q: LogProbs, weight_of_p: Weight) -> LogProbs:
    """log(w p + (1 - w) q) for a weight w strictly between 0 and 1."""
    # a number is filled in, not copied: a copy to a GPU waits, and no captured step may hold one
    if isinstance(weight_of_p, Tensor):
        w = weight_of_p.to(p)
    else:
        w = torch.full((), weight_of_p, dtype=p.dtype, device=p.device)
    return torch.logaddexp(p + w.log(), q + (-w).log1p())


def entropy(p: LogProbs) -> PerToken:
    """-Σ p log p. Outcomes without probability contribute nothing."""
    return -(p.exp() * torch.where(p > -torch.inf, p, 0)).sum(-1)


def binary_target(p: LogProbs, target: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens 2"]:
    """(p_g, 1 - p_g): the next token g against all others."""
    others = _others(p, target).logsumexp(-1)  # 1 - p_g would lose its digits where p_g is near 1
    return torch.stack([target_log_prob(p, target), others], dim=-1)


def without_target(p: LogProbs, target: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens others"]:
    """All outcomes but the next token g, p / (1 - p_g); the last of them has g's place."""
    return _others(p, target).log_softmax(-1)


def _others(p: LogProbs, target: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens others"]:
    # a column less, not -inf in it: mixtures have no gradient where both sides are impossible
    return p.scatter(-1, target[:, None], p[:, -1:])[:, :-1]
