"""A step of training on stored signals never waits for the GPU; what waits elsewhere is counted."""

import warnings
from collections.abc import Iterator

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.skipping import CannotRun
from benchmarks.gpu_check.subjects import small_run
from pipeline.methods.catalogue import METHODS
from pipeline.models.language_model import default_device
from pipeline.training.loop import train
from pipeline.training.state import initial_state

TITLE = "no step of a method with fixed texts waits for the GPU"
SECONDS = 60
STEPS = 6
# the numbers of the step before arrive while this one runs: reading them waits for nothing new
WAITS_A_STEP = 2.0


def measure(device: torch.device) -> Iterator[Figure]:
    """Waits a step of every method whose texts are known ahead; the mean of the others."""
    if device.type != "cuda":
        raise CannotRun("only a GPU can be waited for")
    default_device()
    counts = {name: _waits(name, device) for name in METHODS}
    ahead = {name: counts[name] for name in METHODS if not METHODS[name].generates_text}
    bad = ", ".join(f"{name} {count:.1f}" for name, count in ahead.items() if count > WAITS_A_STEP)
    worst = max(ahead.values())
    yield Figure("waits a step, texts known ahead", worst, at_most=WAITS_A_STEP, note=bad)
    others = [count for name, count in counts.items() if name not in ahead]
    yield Figure("waits a step, texts written in training", sum(others) / len(others))


def _waits(name: str, device: torch.device) -> float:
    """Warnings of torch's debug mode a step, the first two steps left out."""
    made = small_run(name, device, STEPS)
    steps = train(made, initial_state(made))
    next(steps), next(steps)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(STEPS - 2):
                next(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught) / (STEPS - 2)
