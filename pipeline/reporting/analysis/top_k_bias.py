"""Methods whose loss is biased when it sees only the teacher's top K tokens.

The errors were measured once, on the large teacher of configs/docstrings.yaml, by
`benchmarks/sparse_support.py`; docs/sparse_support.md describes how, and top_k_bias.csv holds them.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.methods.method import Method

TABLE = Path(__file__).with_name("top_k_bias.csv")
BOUND = 0.05  # on the relative error of a loss' mean

Errors = Mapping[str, Mapping[int, float]]  # relative errors by loss and K


def measured_errors() -> Errors:
    """The errors of all losses that accept a top-K support."""
    table = pd.read_csv(TABLE).dropna(subset="relative_error")
    by_loss = table.set_index("k").groupby("loss", sort=False)["relative_error"]
    return {str(loss): errors.to_dict() for loss, errors in by_loss}


def warnings(methods: Mapping[str, Method], k: int, errors: Errors) -> list[str]:
    """Warnings for the methods whose loss a cache of the top k biases by more than the bound.

    For `k` the error of the next smaller measured support counts.
    """
    # sampled targets are unbiased, however few, unlike a top K
    cached = {
        name: {size: error for size, error in errors.get(method.loss, {}).items() if size <= k}
        for name, method in methods.items()
        if method.teacher == "cache" and not method.draws
    }
    nearest = {name: max(of_loss.items()) for name, of_loss in cached.items() if of_loss}
    biased = [
        f"{name} by {100 * error:.0f} % (K = {size})"
        for name, (size, error) in nearest.items()
        if error > BOUND
    ]
    texts = []
    if biased:
        texts.append(
            f"On the teacher's {k} most likely tokens some losses are more than "
            f"{100 * BOUND:.0f} % off their value on the whole vocabulary: {', '.join(biased)}. "
            "That was measured on the large teacher of configs/docstrings.yaml, with default "
            "hyperparameters (docs/sparse_support.md). A live teacher has no such error."
        )
    if unknown := [name for name in cached if name not in nearest]:
        texts.append(
            f"For {', '.join(unknown)} the bias due to seeing only the teacher's {k} most likely "
            "tokens was not measured."
        )
    return texts
