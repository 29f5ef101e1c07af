"""Losses once more: slow, in float64 NumPy, token by token, written from the papers.

A reference takes the probabilities p (teacher) and q (student) of a whole optimizer step, what else
is known of its tokens, and the hyperparameters. No formula here is shared with `pipeline`. Losses
that read more of a text than its tokens' distributions are in `text_references`, those over spans
in `span_references`.
"""

import math
from types import SimpleNamespace as Hyperparameters

import numpy as np

from distilbench_conformance.references import generalised_jsd, kl, mixed, variation
from pipeline.distributions.log_probs import TokenContext

Rows = np.ndarray  # [tokens, outcomes]
Row = np.ndarray  # [outcomes]


def alpha_beta(p: Row, q: Row, a: float, b: float) -> float:
    total = 0.0
    for x, y in zip(p, q, strict=True):
        total += x**a * y**b - a / (a + b) * x ** (a + b) - b / (a + b) * y ** (a + b)
    return -total / (a * b)


def each(function, p: Rows, q: Rows) -> np.ndarray:
    return np.array([function(a, b) for a, b in zip(p, q, strict=True)])


def cross_entropy(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return np.array([-math.log(row[g]) for row, g in zip(q, tokens.target.tolist(), strict=True)])


def forward_kl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(kl, p, q)


def reverse_kl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(kl, q, p)


def symmetric_kl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return h.forward_weight * each(kl, p, q) + (1 - h.forward_weight) * each(kl, q, p)


def jsd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(lambda a, b: generalised_jsd(a, b, h.teacher_weight), p, q)


def jsd_student_top(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    def on_top(a: Row, b: Row) -> float:
        top = sorted(range(len(b)), key=lambda token: -b[token])[: h.student_top]
        return generalised_jsd(a[top] / a[top].sum(), b[top] / b[top].sum(), h.teacher_weight)

    return each(on_top, p, q)


def tvd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(variation, p, q)


def skew_kl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(lambda a, b: kl(a, mixed(a, b, h.skew)), p, q)


def skew_reverse_kl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(lambda a, b: kl(b, mixed(b, a, h.skew)), p, q)


def akl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    def adaptive(a: Row, b: Row) -> float:
        head, tail, mass = 0.0, 0.0, 0.0
        for place, v in enumerate(sorted(range(len(a)), key=lambda v: -a[v])):
            mass += a[v]
            if place == 0 or mass <= h.head_mass:
                head += abs(a[v] - b[v])
            else:
                tail += abs(a[v] - b[v])
        return (head * kl(a, b) + tail * kl(b, a)) / (head + tail)

    return each(adaptive, p, q)


def todi(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    def divergence(a: Row, b: Row) -> float:
        total = 0.0
        for x, y in zip(a, b, strict=True):
            towards_forward = 1 / (1 + math.exp(-math.log(x / y)))
            total += towards_forward * x * math.log(x / y)
            total += (1 - towards_forward) * y * math.log(y / x)
        return total

    return each(divergence, p, q)


def taid(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    def from_between(a: Row, b: Row) -> float:
        between = b ** (1 - tokens.state["t"]) * a ** tokens.state["t"]
        return kl(between / between.sum(), b)

    return each(from_between, p, q)


def abkd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(lambda a, b: alpha_beta(a, b, h.teacher_power, h.student_power), p, q)


def amid(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    share, c = h.teacher_share, (1 - h.curvature) / 2

    def to_assistant(a: Row, b: Row) -> float:
        r = (share * a**c + (1 - share) * b**c) ** (1 / c) if c else a**share * b ** (1 - share)
        return alpha_beta(a, r / r.sum(), h.teacher_power, h.assistant_power)

    return each(to_assistant, p, q)


def without(p: Row, g: int) -> Row:
    return np.delete(p, g) / (1 - p[g])


def decoupled(divergence, p: Row, q: Row, g: int) -> tuple[float, float]:
    binary = divergence(np.array([p[g], 1 - p[g]]), np.array([q[g], 1 - q[g]]))
    return binary, divergence(without(p, g), without(q, g))


def dkd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    parts = [decoupled(kl, *row) for row in zip(p, q, tokens.target.tolist(), strict=True)]
    return np.array([h.target_weight * a + h.others_weight * b for a, b in parts])


def entropy_aware(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    def added(a: Row, b: Row) -> float:
        is_unsure = -sum(x * math.log(x) for x in a) > h.entropy_threshold
        return kl(b, a) + (h.forward_weight * kl(a, b) if is_unsure else 0)

    return each(added, p, q)


def top_k_kl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    def coarse(a: Row, b: Row) -> float:
        ranked = b if h.by_student else a
        kept = sorted(range(len(ranked)), key=lambda v: -ranked[v])[: h.top]
        if len(kept) < len(a):
            a, b = (np.array([*(r[v] for v in kept), 1 - sum(r[v] for v in kept)]) for r in (a, b))
        return h.forward_weight * kl(a, b) + (1 - h.forward_weight) * kl(b, a)

    return each(coarse, p, q)


def adakd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    difficulty = [math.sqrt(((a**0.5 - b**0.5) ** 2).sum() / 2) for a, b in zip(p, q, strict=True)]
    order = sorted(range(len(p)), key=lambda i: -difficulty[i])
    kept = order[: max(1, int(len(p) * tokens.state["share"]))]
    median = sorted(difficulty[i] for i in kept)[(len(kept) - 1) // 2]  # the lower of two

    result = np.zeros(len(p))
    for i in kept:
        scale = math.exp(-h.temperature_scale * math.tanh(math.log(difficulty[i] / median)))
        a, b = p[i] ** (1 / scale), q[i] ** (1 / scale)
        result[i] = scale**2 * kl(b / b.sum(), a / a.sum()) * len(p) / len(kept)
    return result


def atkd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    half_jsd = {"forward_kl": kl, "jsd": lambda a, b: generalised_jsd(a, b, 0.5), "tvd": variation}
    first, second = (q, p) if h.reverse else (p, q)
    target = tokens.target.tolist()
    uncertainty = [1 - row[g] for row, g in zip(first, target, strict=True)]
    least = sorted(uncertainty)[math.floor((1 - h.hard_share) * (len(p) - 1))]
    hard = [entropy >= least for entropy in uncertainty]

    result = np.zeros(len(p))
    for i, g in enumerate(target):
        binary, others = decoupled(half_jsd[h.base], first[i], second[i], g)
        if hard[i]:
            result[i] = (1 - h.easy_weight) * (binary + others) * len(p) / sum(hard)
        else:
            result[i] = h.easy_weight * others * len(p) / (len(p) - sum(hard))
    return result
