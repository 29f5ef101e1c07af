"""Where a method's loss on the teacher's top K tokens is further off than a bound.

What is known of it was measured once, on the default experiment's large teacher, by
`benchmarks/sparse_support.py`; docs/sparse_support.md says how, and sparse_support.csv holds it.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.method import Method

TABLE = Path(__file__).with_name("sparse_support.csv")
BOUND = 0.05  # relative error of a loss' mean

Errors = Mapping[str, Mapping[int, float]]  # relative, by loss and K


def errors() -> Errors:
    """What was measured, of the losses that take a support at all."""
    table = pd.read_csv(TABLE).dropna(subset="relative_error")
    return {
        name: dict(zip(rows["k"].tolist(), rows["relative_error"].tolist(), strict=True))
        for name, rows in table.groupby("loss")
    }


def warnings(methods: Mapping[str, Method], k: int, measured: Errors) -> list[str]:
    """A line for each method whose loss is off by more than the bound on a cache of top k."""
    # drawn targets are no top K: they are right on average, however few
    cached = {
        name: method
        for name, method in methods.items()
        if method.teacher == "cache" and not method.draws
    }
    lines = [
        _warning(name, method.loss, k, measured.get(method.loss, {}))
        for name, method in cached.items()
    ]
    return [line for line in lines if line]


def _warning(name: str, loss: str, k: int, of_loss: Mapping[int, float]) -> str:
    smaller = [one for one in of_loss if one <= k]
    if not smaller:
        return (
            f"{name} saw the teacher's {k} most likely tokens: how far that puts its loss, {loss}, "
            "from the value on the whole vocabulary was not measured."
        )
    nearest = max(smaller)
    if of_loss[nearest] <= BOUND:
        return ""
    return (
        f"{name} saw the teacher's {k} most likely tokens. Its loss, {loss}, is off by "
        f"{of_loss[nearest]:.0%} of its value on the whole vocabulary at K = {nearest}, more than "
        f"{BOUND:.0%} (measured on the default experiment's large teacher, with default "
        "hyperparameters; see docs/sparse_support.md). With `teacher: live` it has no such error."
    )
