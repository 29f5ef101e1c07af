"""On-policy steps: a student of 135M parameters writes, and learns of a live teacher of 360M."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import budget_of, run
from benchmarks.measuring import peak_gib, seconds
from benchmarks.workbench import SHAPES, prompts, writer
from pipeline.models.language_model import default_device
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.training.compile import try_compile
from pipeline.training.loop import train
from pipeline.training.state import initial_state

TITLE = "on-policy steps, 135M and a live teacher of 360M"
SECONDS = 90
PROMPT, BATCH = 64, 32
TARGETS = {32: None, 128: 10_000}  # response tokens trained on a second, by new tokens
METHOD = "on_policy_reverse_kl"


def measure(device: torch.device) -> Iterator[Figure]:
    """Response tokens a second, and how many decoders were made for it."""
    default_device()
    large = device.type == "cuda"
    student, teacher = ("135m", "360m") if large else ("narrow", "large")
    batch, steps, targets = (BATCH, 6, TARGETS) if large else (4, 2, {8: None})
    for new, target in targets.items():
        pool = prompts(batch * (steps + 2), PROMPT, SHAPES[student].vocabulary)
        reader = LiveTeacher(writer(teacher, 1, device).requires_grad_(False))
        training = budget_of(steps + 2, batch)
        made = run(METHOD, writer(student, 0, device), reader, pool, training, new, 16_384)
        made = try_compile(made, "inductor") if large else made
        stepping = train(made, initial_state(made))
        list(islice(stepping, 2))
        took = seconds(device, partial(list, stepping))
        yield Figure(f"{new} new tokens", steps * batch * new / took, "tok/s", at_least=target)
    decoders = GRAPH_CAPTURES.compiled + GRAPH_CAPTURES.uncompiled + GRAPH_CAPTURES.failed
    yield Figure("decoders made", decoders, at_most=2 * len(targets) if large else None)
    yield Figure("memory", peak_gib(device), "GiB")
