"""Held-out measures of a checkpoint on the device, against those of the CPU in float32."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import FAMILIES, texts, tiny
from pipeline.evaluation import heldout
from pipeline.models.language_model import default_device
from pipeline.models.teacher import LiveTeacher

TITLE = "NLL, KL and agreement as on the CPU"
SECONDS = 60
BUDGET = 4096
NLL_NATS, KL_NATS, AGREEMENT = 3e-3, 2e-3, 0.97
METRICS = ("nll_nats", "kl_to_teacher_nats", "top1_agreement")
CPU = torch.device("cpu")


def measure(device: torch.device) -> Iterator[Figure]:
    """Differences of the means, family by family."""
    default_device()
    for family in FAMILIES:
        ours, exact = _means(family, device), _means(family, CPU)
        apart = {name: abs(ours[name] - exact[name]) for name in METRICS}
        yield Figure(f"{family}: NLL", apart["nll_nats"], "nats off", at_most=NLL_NATS)
        yield Figure(f"{family}: KL", apart["kl_to_teacher_nats"], "nats off", at_most=KL_NATS)
        yield Figure(f"{family}: top-1 agreement", 1 - apart["top1_agreement"], at_least=AGREEMENT)


def _means(family: str, device: torch.device) -> dict[str, float]:
    student, teacher = (tiny(family, seed, device) for seed in (1, 2))
    pool = texts(64, longest=256)
    measures = heldout.measure(student, pool, {"teacher": LiveTeacher(teacher)}, BUDGET)
    items = measures.items.to_pandas()
    items = items[items["slice"] == ""]
    return {
        name: float(np.average(rows["value"], weights=rows["weight"]))
        for name, rows in items.groupby("metric")
    }
