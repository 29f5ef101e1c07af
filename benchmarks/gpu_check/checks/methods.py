"""Three steps of every method: in float32 equal to the CPU's, in bfloat16 near them."""

import math
from collections.abc import Iterator

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import budget_of, run, texts, tiny
from pipeline.methods.catalogue import METHODS
from pipeline.models.language_model import Precision, default_device
from pipeline.models.teacher import LiveTeacher
from pipeline.training.loop import train
from pipeline.training.state import initial_state

TITLE = "every method trains, and as it does on the CPU"
SECONDS = 120
STEPS, BATCH, NEW_TOKENS, BUDGET = 3, 4, 12, 600
# relative; of text that is written in training the first step alone is compared, as one token that
# falls otherwise makes another text
FLOAT32, BFLOAT16 = 1e-4, 2e-2
CPU = torch.device("cpu")


def measure(device: torch.device) -> Iterator[Figure]:
    """The largest relative difference of losses to the CPU's float32, and who has it."""
    default_device()
    kinds: tuple[tuple[Precision, float], ...] = (("float32", FLOAT32), ("auto", BFLOAT16))
    exact = {name: _losses(name, CPU, "float32") for name in METHODS}
    for precision, bound in kinds:
        apart = {}
        for name in METHODS:
            fixed = not METHODS[name].generates_text
            ours = _losses(name, device, precision)
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
    yield Figure("methods", len(METHODS))


def _losses(name: str, device: torch.device, precision: Precision) -> list[float]:
    teacher = LiveTeacher(tiny("llama", 2, device).requires_grad_(False), precision)
    made = run(
        name,
        tiny("llama", 1, device),
        teacher,
        texts(12, longest=48),
        budget_of(STEPS, BATCH, precision),
        NEW_TOKENS,
        BUDGET,
    )
    state = initial_state(made)
    for _ in train(made, state):
        pass
    losses = [row["loss_nats"] for row in state.rows]
    return [math.nan if loss is None else float(loss) for loss in losses]
