"""The base divergences once more: slow, in float64 NumPy, written from their formulas.

p is the teacher's distribution over the next token, q the student's, w the weight of a divergence.
No code is shared with the losses that are checked against them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Row = np.ndarray  # [outcomes]


def softmax(logits: Sequence[float] | Row) -> Row:
    """Probabilities in float64."""
    shifted = np.asarray(logits, dtype=np.float64) - np.max(logits)
    return np.exp(shifted) / np.exp(shifted).sum()


def kl(p: Row, q: Row) -> float:
    """KL(p ‖ q) in nats."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def mixed(p: Row, q: Row, weight: float) -> Row:
    """The mixture w p + (1 - w) q."""
    return weight * p + (1 - weight) * q


def generalised_jsd(p: Row, q: Row, beta: float) -> float:
    """β KL(p ‖ m) + (1 - β) KL(q ‖ m) with m = β p + (1 - β) q."""
    m = mixed(p, q, beta)
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


def variation(p: Row, q: Row) -> float:
    """½ Σ |p - q|."""
    return sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


def sorted_distance(p: Row, q: Row) -> float:
    """Σ |p₍ᵢ₎ - q₍ᵢ₎| of both sorted by size: token ids play no part."""
    return float(np.abs(np.sort(p) - np.sort(q)).sum())


def _sorted_slope(p: Row, q: Row) -> Row:
    slope = np.empty_like(q)
    slope[np.argsort(q)] = np.sign(np.sort(q) - np.sort(p))
    return slope


@dataclass(frozen=True)
class Divergence:
    """A divergence of one next-token distribution from another."""

    formula: str
    value: Callable[[Row, Row, float], float]  # p, q, weight -> nats
    slope: Callable[[Row, Row, float], Row]  # its derivatives by each probability of q
    weights: tuple[float, ...] = ()  # of the golden vectors; empty: it has no weight
    smooth: bool = True  # otherwise it has no gradient where two probabilities are equal

    def gradient(self, p: Row, q: Row, weight: float) -> Row:
        """Its derivatives by the student's logits."""
        slope = self.slope(p, q, weight)
        return q * (slope - q @ slope)


DIVERGENCES = {
    "forward_kl": Divergence("KL(p ‖ q)", lambda p, q, _: kl(p, q), lambda p, q, _: -p / q),
    "reverse_kl": Divergence(
        "KL(q ‖ p)", lambda p, q, _: kl(q, p), lambda p, q, _: np.log(q / p) + 1
    ),
    "symmetric_kl": Divergence(
        "w KL(p ‖ q) + (1 - w) KL(q ‖ p)",
        lambda p, q, w: w * kl(p, q) + (1 - w) * kl(q, p),
        lambda p, q, w: -w * p / q + (1 - w) * np.log(q / p),
        weights=(0.5, 0.3),
    ),
    "jsd": Divergence(
        "w KL(p ‖ m) + (1 - w) KL(q ‖ m), m = w p + (1 - w) q",
        generalised_jsd,
        lambda p, q, w: (1 - w) * np.log(q / mixed(p, q, w)),
        weights=(0.5, 0.1, 0.9),
    ),
    "tvd": Divergence(
        "½ Σ |p - q|",
        lambda p, q, _: variation(p, q),
        lambda p, q, _: np.sign(q - p) / 2,
        smooth=False,
    ),
    "skew_kl": Divergence(
        "KL(p ‖ w p + (1 - w) q)",
        lambda p, q, w: kl(p, mixed(p, q, w)),
        lambda p, q, w: -(1 - w) * p / mixed(p, q, w),
        weights=(0.1, 0.3),
    ),
    "skew_reverse_kl": Divergence(
        "KL(q ‖ w q + (1 - w) p)",
        lambda p, q, w: kl(q, mixed(q, p, w)),
        lambda p, q, w: np.log(q / mixed(q, p, w)) + 1 - w * q / mixed(q, p, w),
        weights=(0.1, 0.3),
    ),
    "uld": Divergence(
        "Σ |p₍ᵢ₎ - q₍ᵢ₎|, both sorted by size",
        lambda p, q, _: sorted_distance(p, q),
        lambda p, q, _: _sorted_slope(p, q),
        smooth=False,
    ),
}
