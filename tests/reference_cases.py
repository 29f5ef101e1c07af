"""What losses are compared with their references under, and what they carry from step to step."""

import math
from types import SimpleNamespace as Hyperparameters

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
