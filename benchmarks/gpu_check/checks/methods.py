"""Three steps of every method: in float32 equal to the CPU's, in bfloat16 near them."""

import math
from collections.abc import Iterator

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import losses, small_run
from pipeline.methods.catalogue import METHODS
from pipeline.models.language_model import Precision, default_device

TITLE = "every method trains, and as it does on the CPU"
SECONDS = 120
STEPS = 3
# relative; of text that is written in training the first step alone is compared, as one token that
# falls otherwise makes another text
FLOAT32, BFLOAT16 = 1e-4, 2e-2
CPU = torch.device("cpu")
EVERY_ON_A_CPU = 8  # methods: every one of them would be compared with itself


def measure(device: torch.device) -> Iterator[Figure]:
    """The largest relative difference of losses to the CPU's float32, and who has it."""
    default_device()
    kinds: tuple[tuple[Precision, float], ...] = (("float32", FLOAT32), ("auto", BFLOAT16))
    names = list(METHODS)[:: EVERY_ON_A_CPU if device == CPU else 1]
    exact = {name: losses(small_run(name, CPU, STEPS, "float32")) for name in names}
    for precision, bound in kinds:
        apart = {}
        for name in names:
            fixed = not METHODS[name].generates_text
            ours = losses(small_run(name, device, STEPS, precision))
            compared = zip(ours, exact[name], strict=True)
            pairs = list(compared)[: None if fixed else 1]
            finite = all(map(math.isfinite, ours))
            apart[name] = (
                max(abs(a - b) / max(abs(b), 0.1) for a, b in pairs) if finite else math.inf
            )
        worst = max(apart, key=lambda name: apart[name])
        bad = ", ".join(f"{name} {apart[name]:.1e}" for name in apart if apart[name] > bound)
        yield Figure(
            f"{precision}: largest difference of losses",
            apart[worst],
            at_most=bound,
            note=bad or worst,
        )
    yield Figure("methods", len(names))
