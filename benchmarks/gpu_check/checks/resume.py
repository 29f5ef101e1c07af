"""A training that is stopped and goes on from its saved state, against one that is not."""

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import budget_of, run, texts, tiny
from benchmarks.measuring import seconds
from pipeline.models.language_model import default_device
from pipeline.models.teacher import LiveTeacher
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state

TITLE = "a resumed training goes on as one that was never stopped"
SECONDS = 40
STEPS, STOP, BATCH, NEW_TOKENS, BUDGET = 4, 2, 4, 12, 600
LOSS = 1e-5  # relative: atomic additions have no order; 0 on a CPU
METHODS = ("forward_kl", "gkd")


def measure(device: torch.device) -> Iterator[Figure]:
    """The largest difference of the losses after the stop."""
    default_device()
    for name in METHODS:
        whole, saved, apart = _made(name, device), _made(name, device), 0.0
        state = initial_state(whole)
        list(train(whole, state))
        with tempfile.TemporaryDirectory() as folder:
            half = initial_state(saved)
            list(islice(train(saved, half), STOP))
            saving = partial(checkpoint.save, Path(folder), saved, half, "check")
            took = seconds(device, saving)
            again = _made(name, device)
            later = initial_state(again)
            assert checkpoint.resume(Path(folder), again, later, "check")
        list(train(again, later))
        for row, other in zip(state.rows[STOP:], later.rows[STOP:], strict=True):
            loss, resumed = float(row["loss_nats"] or 0), float(other["loss_nats"] or 0)
            apart = max(apart, abs(loss - resumed) / abs(loss))
        yield Figure(f"{name}: losses after the stop", apart, "of them", at_most=LOSS)
        yield Figure(f"{name}: saving", took, "s")


def _made(name: str, device: torch.device) -> TrainingRun:
    teacher = LiveTeacher(tiny("llama", 2, device).requires_grad_(False))
    student, training = tiny("llama", 1, device), budget_of(STEPS, BATCH)
    return run(name, student, teacher, texts(12, longest=48), training, NEW_TOKENS, BUDGET)
