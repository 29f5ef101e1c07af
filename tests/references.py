"""Every loss once more: slow, in float64 NumPy, token by token, written from the papers.

A reference takes the probabilities p (teacher) and q (student) of a whole optimizer step, what else
is known of its tokens, and the hyperparameters. No formula here is shared with `pipeline`.
"""

import math
from types import SimpleNamespace as Hyperparameters

import numpy as np

from distilbench_conformance.references import generalised_jsd, kl, mixed, variation
from pipeline.distributions.log_probs import TokenContext

Rows = np.ndarray  # [tokens, outcomes]
Row = np.ndarray  # [outcomes]

# hyperparameters beside the defaults under which a loss is compared with its reference
VARIANTS: dict[str, list[dict[str, object]]] = {
    "symmetric_kl": [{"forward_weight": 0.3}],
    "jsd": [{"teacher_weight": 0.2}, {"teacher_weight": 0.9}],
    "skew_kl": [{"skew": 0.3}],
    "skew_reverse_kl": [{"skew": 0.3}],
    "akl": [{"head_mass": 0.8}],
    "abkd": [{"teacher_power": 1.2, "student_power": 0.4}],
    "amid": [{"curvature": -1.0, "teacher_share": 0.2}, {"curvature": 1.0, "teacher_share": 0.3}],
    "adakd": [{"temperature_scale": 0.9}],
    "atkd": [
        {"reverse": True},
        {"base": "jsd", "hard_share": 0.3},
        {"base": "tvd", "easy_weight": 0.6, "hard_share": 1.0},
    ],
    "minillm": [{"discount": 0.5, "reward_limit": 2.0}],
    "kdrl": [{"kl_weight": 0.2}],
    "kl_estimator": [{"estimator": "k3"}],
    "entropy_aware": [{"entropy_threshold": 1.5, "forward_weight": 0.4}],
    "top_k_kl": [
        {"top": 3, "forward_weight": 0.3},
        {"top": 4, "forward_weight": 1.0, "by_student": False},
    ],
    "iw_opd": [{"early_weight": 2.0}],
    "g_opd": [{"reward_weight": 0.3}, {"reward_weight": 1.0}],
    "contrastive_pair": [{"skew": 0.3, "gradual": True}],
    "contrastive_pair_adaptive": [{"skew": 0.6, "gradual": False}],
    "relational": [{"relation_weight": 2.0}],
    "jsd_student_top": [{"student_top": 3}, {"student_top": 4, "teacher_weight": 0.2}],
    "uld": [{"aligned": True}],
    "alm": [{"temperature": 7.0}, {"least_boundary_mass": 0.4}],
    "gold": [{"teacher_weight": 0.2}],
    "opd_spans": [{"whole_span": True}],
}
# what losses carry from step to step, so that it matters
STATES: dict[str, dict[str, float]] = {
    "taid": {"t": 0.55, "momentum": 0.0},
    "adakd": {"share": 0.6},
}
CURVE = [4.0, 4.2, *(0.1 for _ in range(20)), *(30.0 for _ in range(6))]  # losses of steps, in nats


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


def without(p: Row, g: int) -> Row:
    return np.delete(p, g) / (1 - p[g])


def decoupled(divergence, p: Row, q: Row, g: int) -> tuple[float, float]:
    binary = divergence(np.array([p[g], 1 - p[g]]), np.array([q[g], 1 - q[g]]))
    return binary, divergence(without(p, g), without(q, g))


def dkd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    parts = [decoupled(kl, *row) for row in zip(p, q, tokens.target.tolist(), strict=True)]
    return np.array([h.target_weight * a + h.others_weight * b for a, b in parts])


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


def minillm(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    target, sequence = tokens.target.tolist(), tokens.sequence.tolist()
    rewards = [math.log(p[i][g] / q[i][g]) / h.reward_scale for i, g in enumerate(target)]
    rewards = [max(-h.reward_limit, min(h.reward_limit, reward)) for reward in rewards]
    returns = []
    for i in range(len(p)):
        later = [j for j in range(i, len(p)) if sequence[j] == sequence[i]]
        returns.append(sum(h.discount ** (j - i) * rewards[j] for j in later) / len(later))
    advantages = (np.array(returns) - np.mean(returns)) / math.sqrt(np.var(returns) + 1e-8)

    result = each(kl, q, p)
    for i, g in enumerate(target):
        ratio = q[i][g] / math.exp(tokens.sampled_log_probs[i])
        limited = max(1 - h.ratio_margin, min(1 + h.ratio_margin, ratio))
        result[i] += max(-ratio * advantages[i], -limited * advantages[i])
    return result


def opd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result = np.zeros(len(p))
    for i, g in enumerate(tokens.target.tolist()):
        advantage = math.log(p[i][g]) - math.log(q[i][g])
        result[i] = -q[i][g] / math.exp(tokens.sampled_log_probs[i]) * advantage
    return result


def sdpo(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    losses = opd(p, q, tokens, h)
    return np.array(
        [x if shown else 0.0 for x, shown in zip(losses, tokens.has_solution, strict=True)]
    )


def iw_opd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    losses, target, sequence = opd(p, q, tokens, h), tokens.target, tokens.sequence.tolist()
    sizes = [abs(math.log(p[i][g] / q[i][g])) for i, g in enumerate(target.tolist())]
    for i in range(len(p)):
        before = sum(sizes[j] for j in range(i) if sequence[j] == sequence[i])
        total = sum(sizes[j] for j in range(len(p)) if sequence[j] == sequence[i])
        losses[i] *= 1 + h.early_weight * (1 - before / total)
    return losses


def g_opd(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result = np.zeros(len(p))
    for i, g in enumerate(tokens.target.tolist()):
        reference = math.exp(tokens.reference_log_probs[i])
        scaled = (p[i][g] / reference) ** h.reward_weight * reference / q[i][g]
        result[i] = -q[i][g] / math.exp(tokens.sampled_log_probs[i]) * math.log(scaled)
    return result


def kdrl(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result = h.kl_weight * each(kl, q, p)
    for i, g in enumerate(tokens.target.tolist()):
        result[i] -= q[i][g] / math.exp(tokens.sampled_log_probs[i]) * float(tokens.advantages[i])
    return result


def kl_estimator(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result = np.zeros(len(p))
    for i, g in enumerate(tokens.target.tolist()):
        r = p[i][g] / q[i][g]
        estimate = {"k2": math.log(r) ** 2 / 2, "k3": r - 1 - math.log(r)}[h.estimator]
        result[i] = q[i][g] / math.exp(tokens.sampled_log_probs[i]) * estimate
    return result


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
    target, sequence = tokens.target.tolist(), tokens.sequence.tolist()
    gaps = []
    for i in range(len(p)):
        same = [j for j in range(len(p)) if sequence[j] == sequence[i]]
        means = [math.prod(r[j][target[j]] for j in same) ** (1 / len(same)) for r in (p, q)]
        gaps.append(abs(means[0] - means[1]))
    anchor = sum(gaps) / len(gaps)
    skews = [1 - (1 - h.skew) * anchor / gap for gap in gaps]
    skews = [max(h.least_skew, min(h.skew, skew)) for skew in skews]
    return pair(p, q, tokens, skews, student_weight(tokens, h))


def relational(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    sequence, result = tokens.sequence.tolist(), np.zeros(len(p))
    t, s = (np.log(r) - np.log(r).mean(-1, keepdims=True) for r in (p, q))
    for i in range(len(p)):
        same = [j for j in range(len(p)) if sequence[j] == sequence[i]]
        relation = sum((((s[i] - s[j]) - (t[i] - t[j])) ** 2).mean() for j in same) / len(same)
        result[i] = kl(p[i], q[i]) + h.relation_weight * relation
    return result


def taid_path(h: Hyperparameters) -> list[float]:
    """t after each step of the curve."""
    t, momentum, path = h.first, 0.0, [h.first]
    for step in range(1, len(CURVE)):
        change = (CURVE[step - 1] - CURVE[step]) / CURVE[step - 1]
        momentum = h.inertia * momentum + (1 - h.inertia) * change
        line = h.first + (h.last - h.first) * step / len(CURVE)
        t = min(h.last, max(line, t + h.stride / (1 + math.exp(-momentum)) * (1 - t)))
        path.append(t)
    return path


def adakd_path(h: Hyperparameters) -> list[float]:
    """The share of tokens kept after each step of the curve."""
    share, smooth, anchor, path = 1.0, CURVE[0], None, []
    for step, loss in enumerate(CURVE):
        smooth = h.smoothing * smooth + (1 - h.smoothing) * loss
        if anchor is None:
            anchor = smooth if step / len(CURVE) > h.warmup_share else None
        elif abs(smooth - anchor) > h.tolerance * anchor:
            share *= 1 + h.stride if smooth > anchor else 1 - h.stride
            share, anchor = min(1.0, max(h.least_share, share)), smooth
        path.append(share)
    return path


PATHS = {"taid": ("t", taid_path), "adakd": ("share", adakd_path)}


def spans_of(tokens: TokenContext) -> list[tuple[list[int], list[int], bool]]:
    """The teacher's and the student's tokens of each span, and whether it ends its text."""
    count, spans = len(tokens.sequence), tokens.spans
    teacher, student = (
        (list(range(count)), list(range(count)))
        if spans is None
        else (spans.of_teacher.tolist(), spans.of_student.tolist())
    )
    text = tokens.sequence.tolist()
    result = []
    for span in range(max(student) + 1):
        mine = [token for token, of in enumerate(student) if of == span]
        ends = mine[-1] + 1 == count or text[mine[-1]] != text[mine[-1] + 1]
        result.append(([token for token, of in enumerate(teacher) if of == span], mine, ends))
    return result


def sorted_apart(p: Row, q: Row) -> float:
    width = max(len(p), len(q))
    a, b = (np.sort(np.append(row, np.zeros(width - len(row))))[::-1] for row in (p, q))
    return float(np.abs(a - b).sum())


def uld(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, spans = np.zeros(len(q)), spans_of(tokens)
    if h.aligned:
        for teacher, student, _ in spans:
            result[student[-1]] = sorted_apart(p[teacher[0]], q[student[0]])
        return result
    of_teacher: list[int] = []
    of_student: list[int] = []
    for teacher, student, ends in spans:
        of_teacher, of_student = of_teacher + teacher, of_student + student
        if ends:
            for mine, yours in zip(of_teacher, of_student, strict=False):  # as far as both go
                result[yours] = sorted_apart(p[mine], q[yours])
            of_teacher, of_student = [], []
    return result


def opd_spans(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, both = np.zeros(len(q)), tokens.spans
    targets = (tokens.target if both is None else both.teacher_target).tolist()
    for teacher, student, _ in spans_of(tokens):
        a = sum(math.log(p[token][targets[token]]) for token in teacher)
        own = {token: math.log(q[token][tokens.target[token]]) for token in student}
        for token in student:
            by_token = a / len(student) - own[token]
            advantage = a - sum(own.values()) if h.whole_span else by_token
            ratio = math.exp(own[token] - tokens.sampled_log_probs[token])
            result[token] = -ratio * advantage
    return result


def alm(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, spans, both = np.zeros(len(q)), spans_of(tokens), tokens.spans
    targets = (tokens.target if both is None else both.teacher_target).tolist()
    vocabularies = None if both is None else both.vocabularies
    a = b = 0.0
    for place, (teacher, student, ends) in enumerate(spans):
        a += sum(math.log(p[token][targets[token]]) for token in teacher)
        b += sum(math.log(q[token][tokens.target[token]]) for token in student)
        if vocabularies is not None and not ends:
            after_teacher, after_student, _ = spans[place + 1]
            begins = vocabularies.teacher_begins_word.numpy()
            mass = p[after_teacher[0]][: len(begins)][begins].sum()
            if mass < h.least_boundary_mass:
                continue
            a += math.log(mass)
            begins = vocabularies.student_begins_word.numpy()
            b += math.log(q[after_student[0]][begins].sum())
        x, y = (math.exp(value / h.temperature - 1e-6) for value in (a, b))
        binary = x * math.log(x / y) + (1 - x) * math.log((1 - x) / (1 - y))
        result[student[-1]] = h.temperature * binary
        a = b = 0.0
    return result


def same_tokens(tokens: TokenContext, count: int) -> dict[int, int]:
    """The student's token of the same bytes by the teacher's, where there is one."""
    both = tokens.spans
    if both is None or both.vocabularies is None:
        return {token: token for token in range(count)}
    pairs = enumerate(both.vocabularies.shared.tolist())
    return {mine: yours for mine, yours in pairs if yours >= 0}


def gold(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, both = np.zeros(len(q)), tokens.spans
    targets = (tokens.target if both is None else both.teacher_target).tolist()
    same = same_tokens(tokens, p.shape[1])
    size = (
        p.shape[1] if both is None or both.vocabularies is None else len(both.vocabularies.shared)
    )
    for teacher, student, _ in spans_of(tokens):
        a, b = p[teacher[-1]].copy(), q[student[-1]].copy()
        for token in teacher[:-1]:
            a *= p[token][targets[token]]
        for token in student[:-1]:
            b *= q[token][tokens.target[token]]
        matched = 0.0
        for mine, yours in same.items():
            x, y = a[mine], b[yours]
            m = h.teacher_weight * x + (1 - h.teacher_weight) * y
            matched += h.teacher_weight * x * math.log(x / m)
            matched += (1 - h.teacher_weight) * y * math.log(y / m)
        rest_a = np.array([a[token] for token in range(size) if token not in same])
        rest_b = np.array([b[token] for token in range(len(b)) if token not in same.values()])
        share = len(same) / size
        result[student[-1]] = share * matched + (1 - share) * sorted_apart(rest_a, rest_b)
    return result


def simct(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    result, both, moved = np.zeros(len(q)), tokens.spans, 1e-4
    targets = (tokens.target if both is None else both.teacher_target).tolist()
    same = same_tokens(tokens, p.shape[1])
    for teacher, student, _ in spans_of(tokens):
        a = [math.prod(p[token][targets[token]] for token in teacher)]
        b = [math.prod(q[token][tokens.target[token]] for token in student)]
        for mine, yours in same.items():
            if mine != targets[teacher[0]] and yours != tokens.target[student[0]]:
                a.append(p[teacher[0]][mine])
                b.append(q[student[0]][yours])
        x, y = (
            [(1 - moved) * value for value in each] + [(1 - moved) * (1 - sum(each)) + moved]
            for each in (a, b)
        )
        result[student[-1]] = kl(np.array(y), np.array(x))
    return result
