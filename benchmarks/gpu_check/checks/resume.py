"""A training that is stopped and goes on from its saved state, against one that is not."""

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import losses, small_run
from benchmarks.measuring import seconds
from pipeline.models.language_model import default_device
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import initial_state

TITLE = "a resumed training goes on as one that was never stopped"
SECONDS = 40
STEPS, STOP = 4, 2
LOSS = 1e-5  # relative: atomic additions have no order; 0 on a CPU
METHODS = ("forward_kl", "gkd")


def measure(device: torch.device) -> Iterator[Figure]:
    """The largest difference of the losses after the stop."""
    default_device()
    for name in METHODS:
        whole, saved, again = (small_run(name, device, STEPS) for _ in range(3))
        expected = losses(whole)[STOP:]
        with tempfile.TemporaryDirectory() as folder:
            half = initial_state(saved)
            list(islice(train(saved, half), STOP))
            saving = partial(checkpoint.save, Path(folder), saved, half, "check")
            took = seconds(device, saving)
            later = initial_state(again)
            assert checkpoint.resume(Path(folder), again, later, "check")
        list(train(again, later))
        resumed = [float(row["loss_nats"] or 0) for row in later.rows[STOP:]]
        pairs = zip(expected, resumed, strict=True)
        apart = max(abs(loss - other) / abs(loss) for loss, other in pairs)
        yield Figure(f"{name}: losses after the stop", apart, "of them", at_most=LOSS)
        yield Figure(f"{name}: saving", took, "s")
