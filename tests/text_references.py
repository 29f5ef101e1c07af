"""References of losses that know who wrote a text, how likely it was, or what else is in it."""

import math

import numpy as np
from references import Hyperparameters, Rows, each

from distilbench_conformance.references import kl
from pipeline.distributions.log_probs import TokenContext


def of_targets(p: Rows, tokens: TokenContext) -> np.ndarray:
    """The probabilities of the next tokens."""
    return p[np.arange(len(p)), tokens.target.numpy()]


def log_ratios(p: Rows, q: Rows, tokens: TokenContext) -> np.ndarray:
    """How much likelier the teacher finds each next token."""
    return np.log(of_targets(p, tokens) / of_targets(q, tokens))


def weights(q: Rows, tokens: TokenContext) -> np.ndarray:
    """How much likelier the student finds each next token than what wrote it did."""
    return of_targets(q, tokens) / np.exp(tokens.sampled_log_probs.numpy())


def places_of_text(tokens: TokenContext, place: int) -> list[int]:
    """The places of the text that a place is of."""
    return [i for i, text in enumerate(tokens.sequence) if text == tokens.sequence[place]]


def opd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return -weights(q, tokens) * log_ratios(p, q, tokens)


def sdpo(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return opd(p, q, tokens, h) * tokens.has_solution.numpy()


def iw_opd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    losses, sizes = opd(p, q, tokens, h), np.abs(log_ratios(p, q, tokens))
    for i in range(len(p)):
        text = places_of_text(tokens, i)
        before = sum(sizes[j] for j in text if j < i)
        losses[i] *= 1 + h.early_weight * (1 - before / sum(sizes[j] for j in text))
    return losses


def g_opd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    reference = np.exp(tokens.reference_log_probs.numpy())
    scaled = (of_targets(p, tokens) / reference) ** h.reward_weight
    return -weights(q, tokens) * np.log(scaled * reference / of_targets(q, tokens))


def kdrl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return h.kl_weight * each(kl, q, p) - weights(q, tokens) * tokens.advantages.numpy()


def kl_estimator(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    r = of_targets(p, tokens) / of_targets(q, tokens)
    estimates = {"k2": np.log(r) ** 2 / 2, "k3": r - 1 - np.log(r)}
    return weights(q, tokens) * estimates[h.estimator]


def minillm(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    rewards = log_ratios(p, q, tokens) / h.reward_scale
    rewards = [max(-h.reward_limit, min(h.reward_limit, reward)) for reward in rewards]
    returns = []
    for i in range(len(p)):
        later = [j for j in places_of_text(tokens, i) if j >= i]
        returns.append(sum(h.discount ** (j - i) * rewards[j] for j in later) / len(later))
    advantages = (np.array(returns) - np.mean(returns)) / math.sqrt(np.var(returns) + 1e-8)

    result = each(kl, q, p)
    for i, ratio in enumerate(weights(q, tokens)):
        limited = max(1 - h.ratio_margin, min(1 + h.ratio_margin, ratio))
        result[i] += max(-ratio * advantages[i], -limited * advantages[i])
    return result


def pair(p: Rows, q: Rows, tokens: TokenContext, skews: list[float], beta: float) -> np.ndarray:
    result = np.zeros(len(p))
    for i, by_student in enumerate(tokens.by_student.tolist()):
        if by_student:
            result[i] = beta * kl(q[i], (1 - skews[i]) * p[i] + skews[i] * q[i])
        else:
            result[i] = (2 - beta) * kl(p[i], skews[i] * p[i] + (1 - skews[i]) * q[i])
    return result


def student_weight(tokens: TokenContext, h: Hyperparameters) -> float:
    return 1 + 0.5 * min(1, 2 * tokens.progress) if h.gradual else 1.0


def contrastive_pair(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return pair(p, q, tokens, [h.skew] * len(p), student_weight(tokens, h))


def contrastive_pair_adaptive(
    p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters
) -> np.ndarray:
    gaps = []
    for i in range(len(p)):
        text = places_of_text(tokens, i)
        first, other = (math.prod(of_targets(r, tokens)[text]) ** (1 / len(text)) for r in (p, q))
        gaps.append(abs(first - other))
    anchor = sum(gaps) / len(gaps)
    skews = [1 - (1 - h.skew) * anchor / gap for gap in gaps]
    skews = [max(h.least_skew, min(h.skew, skew)) for skew in skews]
    return pair(p, q, tokens, skews, student_weight(tokens, h))


def relational(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result = np.zeros(len(p))
    t, s = (np.log(r) - np.log(r).mean(-1, keepdims=True) for r in (p, q))
    for i in range(len(p)):
        text = places_of_text(tokens, i)
        relation = sum((((s[i] - s[j]) - (t[i] - t[j])) ** 2).mean() for j in text) / len(text)
        result[i] = kl(p[i], q[i]) + h.relation_weight * relation
    return result
