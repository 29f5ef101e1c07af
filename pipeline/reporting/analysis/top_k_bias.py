"""Where a method's loss on the teacher's top K tokens is further off than a bound.

What is known of it was measured once, on the default experiment's large teacher, by
`benchmarks/sparse_support.py`; docs/sparse_support.md says how, and sparse_support.csv holds it.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.methods.method import Method

TABLE = Path(__file__).with_name("top_k_bias.csv")
BOUND = 0.05  # relative error of a loss' mean

Errors = Mapping[str, Mapping[int, float]]  # relative, by loss and K


def errors() -> Errors:
    """What was measured, of the losses that take a support at all."""
    table = pd.read_csv(TABLE).dropna(subset="relative_error")
    errors: dict[str, dict[int, float]] = {}
    for loss, k, error in zip(table["loss"], table["k"], table["relative_error"], strict=True):
        errors.setdefault(loss, {})[k] = error
    return errors


def warnings(methods: Mapping[str, Method], k: int, measured: Errors) -> list[str]:
    """What to know of the methods whose loss a cache of the top k puts off by more than the bound.

    What was measured on the next smaller support stands for `k`.
    """
    # drawn targets are no top K: they are right on average, however few
    cached = {
        name: {size: error for size, error in measured.get(one.loss, {}).items() if size <= k}
        for name, one in methods.items()
        if one.teacher == "cache" and not one.draws
    }
    found = []
    if off := [_error(name, of_loss) for name, of_loss in cached.items() if _is_off(of_loss)]:
        found.append(
            f"On the teacher's {k} most likely tokens some losses are more than {BOUND:.0%} off "
            f"their value on the whole vocabulary: {', '.join(off)}. That was measured on the "
            "default experiment's large teacher, with default hyperparameters "
            "(docs/sparse_support.md); `teacher: live` has no such error."
        )
    if unknown := [name for name, of_loss in cached.items() if not of_loss]:
        found.append(
            f"How far {', '.join(unknown)} are put off by seeing only the teacher's {k} most "
            "likely tokens was not measured."
        )
    return found


def _is_off(of_loss: Mapping[int, float]) -> bool:
    return bool(of_loss) and of_loss[max(of_loss)] > BOUND


def _error(name: str, of_loss: Mapping[int, float]) -> str:
    nearest = max(of_loss)
    return f"{name} by {of_loss[nearest]:.0%} (K = {nearest})"
