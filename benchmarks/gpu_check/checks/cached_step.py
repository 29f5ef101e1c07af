"""A step of a student of 135M parameters on the stored top 64 of a teacher: right, and how fast.

32 texts of 512 tokens without padding, then texts as long as Dolly's, which never have two steps of
one shape. Compiled steps are held against the same steps uncompiled.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import budget_of, run, texts
from benchmarks.gpu_check.timing import peak_gib, seconds, synchronize
from benchmarks.workbench import SHAPES, equal, model
from pipeline.cache.cached_teacher import CachedTeacher, opened
from pipeline.distill.compiled import attempt
from pipeline.distill.run import Run, begin
from pipeline.distill.training import distill
from pipeline.language_model import default_device
from pipeline.settings.teacher import CacheJob
from pipeline.teacher_cache import shards, stage
from pipeline.teacher_cache.capture import Capture
from pipeline.texts import Text

TITLE = "cached step of 135M, compiled and not"
SECONDS = 150
TOP, FILE = 64, "train-00000.parquet"
TOKENS_PER_SECOND, GIB = 300_000, 14.0
DOLLY_RESPONSE_TOKENS_PER_SECOND = 100_000
LOSS = 1e-3  # relative: compiled kernels sum in another order
METHOD = "forward_kl"


def measure(device: torch.device) -> Iterator[Figure]:
    """Losses beside each other, seconds to compile, tokens a second, memory."""
    default_device()
    large = device.type == "cuda"
    name, batch, length = ("135m", 32, 512) if large else ("narrow", 8, 48)
    steps, varying = (20, 60) if large else (3, 4)
    vocabulary = SHAPES[name].vocabulary
    pool = equal(2 * batch, length, vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        teacher = _stored(Path(folder), name, device, pool)
        plain = _run(name, teacher, pool, batch, 2, device)
        losses = [_losses(plain), _losses(_run(name, teacher, pool, batch, 2, device), True)]
        apart = max(abs(a - b) / abs(b) for a, b in zip(*losses, strict=True))
        yield Figure("compiled against uncompiled: loss", apart, "of it", at_most=LOSS)

        made = _run(name, teacher, pool, batch, steps + 3, device)
        began = time.perf_counter()
        made = _compiled(made)
        stepping = distill(made, begin(made))
        list(islice(stepping, 3))
        synchronize(device)
        yield Figure("until it is compiled", time.perf_counter() - began, "s")
        took = seconds(device, lambda: list(stepping))
        speed = steps * batch * length / took
        held = TOKENS_PER_SECOND if large else None
        yield Figure("tokens a second, 32 x 512", speed, "tok/s", at_least=held)
        yield Figure("memory", peak_gib(device), "GiB", at_most=GIB if large else None)

    pool = texts(varying * batch, vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        teacher = _stored(Path(folder), name, device, pool)
        made = replace(made, teacher=teacher, pool=pool)
        stepping = distill(made, begin(made))
        list(islice(stepping, 3))
        took = seconds(device, lambda: list(stepping))
        responses = sum(len(text.response_ids) for text in pool) / len(pool) * batch * steps
        held = DOLLY_RESPONSE_TOKENS_PER_SECOND if large else None
        yield Figure("response tokens a second, Dolly", responses / took, "tok/s", at_least=held)


def _run(
    name: str,
    teacher: CachedTeacher,
    pool: Sequence[Text],
    batch: int,
    steps: int,
    device: torch.device,
) -> Run:
    student = model(name, 1, device)
    return run(METHOD, student, teacher, pool, budget_of(steps, batch), 1, 16_384)


def _compiled(made: Run) -> Run:
    """Compiled on a GPU however few the steps are; on a CPU as it is."""
    return attempt(made, "inductor") if made.student.device.type == "cuda" else made


def _losses(made: Run, is_compiled: bool = False) -> list[float]:
    made = _compiled(made) if is_compiled else made
    state = begin(made)
    for _ in distill(made, state):
        pass
    return [float(row["loss_nats"] or 0.0) for row in state.rows]


def _stored(folder: Path, name: str, device: torch.device, pool: Sequence[Text]) -> CachedTeacher:
    teacher, settings = model(name, 2, device).requires_grad_(False), CacheJob(k=TOP)
    facts = stage.facts_of(teacher, settings, [FILE])
    shards.write(folder / FILE, list(Capture(teacher, settings, 16_384).of(pool)), facts)
    return opened(folder, facts, ["train"])
