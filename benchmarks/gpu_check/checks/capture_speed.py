"""What storing a teacher's top 64 takes, beside the bare forward pass over the same texts."""

from collections.abc import Iterator

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.measuring import best
from benchmarks.workbench import SHAPES, equal, model
from pipeline.data.batch import micro_batches
from pipeline.models.language_model import (
    autocast,
    counted_lm_head,
    default_device,
    response_hidden,
)
from pipeline.settings.teacher import CacheJob
from pipeline.teacher_cache.capture import Capture

TITLE = "capture of a 360M teacher, against its forward pass"
SECONDS = 40
RATIO, RUNS, BUDGET = 1.25, 3, 16_384


def measure(device: torch.device) -> Iterator[Figure]:
    """Tokens a second, and the ratio to body and head alone."""
    default_device()
    large = device.type == "cuda"
    name, count, length = ("360m", 64, 256) if large else ("large", 8, 48)
    teacher = model(name, 1, device).requires_grad_(False).eval()
    pool = equal(count, length, SHAPES[name].vocabulary)
    capture = Capture(teacher, CacheJob(k=64), BUDGET)

    @torch.no_grad()
    def forward() -> None:
        for batch in micro_batches(pool, BUDGET, device):
            with autocast(device, "auto"):
                states = response_hidden(teacher, batch)
                for part in states.split(2048):
                    counted_lm_head(teacher, part)

    def captured() -> None:
        for reduced in capture.batches(pool):
            reduced.wait()

    bare, whole = best(device, forward, RUNS), best(device, captured, RUNS)
    yield Figure("capture", count * length / whole, "tok/s")
    yield Figure("to the forward pass", whole / bare, "times", at_most=RATIO if large else None)
