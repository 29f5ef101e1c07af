"""Divergences between two distributions on the same support, a value for each token, in nats."""

import math

import torch

from pipeline.signal import LogProbs, PerToken


def kl(p: LogProbs, q: LogProbs) -> PerToken:
    """KL(p ‖ q). Outcomes that p gives no probability contribute nothing."""
    possible = p > -torch.inf
    # where() on the inside too: the gradient of the branch not taken would be NaN
    log_ratio = torch.where(possible, p, 0) - torch.where(possible, q, 0)
    return (p.exp() * log_ratio).sum(-1)


def mixture(p: LogProbs, q: LogProbs, weight_of_p: float) -> LogProbs:
    """log(w p + (1 - w) q) for a weight w strictly between 0 and 1."""
    return torch.logaddexp(p + math.log(weight_of_p), q + math.log1p(-weight_of_p))


def entropy(p: LogProbs) -> PerToken:
    """-Σ p log p. Outcomes without probability contribute nothing."""
    return -(p.exp() * torch.where(p > -torch.inf, p, 0)).sum(-1)
