"""A step of a student of 135M parameters on the stored top 64 of a teacher: right, and how fast.

32 texts of 512 tokens without padding, then texts as long as Dolly's, which never have two steps of
one shape. Compiled steps are held against the same steps uncompiled.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.cache_subjects import stored
from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import budget_of, losses, run, texts
from benchmarks.measuring import peak_gib, seconds, synchronize
from benchmarks.workbench import SHAPES, equal, model
from pipeline.data.batch import Text
from pipeline.models.language_model import default_device
from pipeline.settings.teacher import CacheJob
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.reader import CachedTeacher
from pipeline.training.compile import try_compile
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state

TITLE = "cached step of 135M, compiled and not"
SECONDS = 150
TOP = 64
TOKENS_PER_SECOND, GIB = 300_000, 14.0
DOLLY_RESPONSE_TOKENS_PER_SECOND = 100_000
LOSS = 1e-3  # relative: compiled kernels sum in another order
METHOD = "forward_kl"
BUDGET = 16_384  # positions in a micro-batch


@dataclass(frozen=True)
class Task:
    """The sizes of what is timed."""

    name: str  # of the student's and the teacher's shape
    batch: int  # texts in a step
    length: int  # of each, where all are of one length
    steps: int  # that are timed
    varying: int  # steps' worth of texts of changing lengths
    device: torch.device

    @property
    def large(self) -> bool:
        """Whether speeds are held to their targets."""
        return self.device.type == "cuda"

    @property
    def vocabulary(self) -> int:
        """Tokens of the shape."""
        return SHAPES[self.name].vocabulary


def measure(device: torch.device) -> Iterator[Figure]:
    """Losses beside each other, seconds to compile, tokens a second, memory."""
    default_device()
    small = Task("narrow", batch=8, length=48, steps=3, varying=4, device=device)
    large = Task("135m", batch=32, length=512, steps=20, varying=60, device=device)
    task = large if large.large else small
    with tempfile.TemporaryDirectory() as folder:
        pool = equal(2 * task.batch, task.length, task.vocabulary)
        teacher = _stored(Path(folder), task, pool)
        yield _difference(task, teacher, pool)
        yield from _of_one_length(task, teacher, pool)
    with tempfile.TemporaryDirectory() as folder:
        pool = texts(task.varying * task.batch, task.vocabulary)
        yield _of_changing_lengths(task, _stored(Path(folder), task, pool), pool)


def _difference(task: Task, teacher: CachedTeacher, pool: Sequence[Text]) -> Figure:
    runs = (_run(task, teacher, pool, 2), _compiled(_run(task, teacher, pool, 2)))
    plain, ours = map(losses, runs)
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours, plain, strict=True))
    return Figure("compiled against uncompiled: loss", apart, "of it", at_most=LOSS)


def _of_one_length(task: Task, teacher: CachedTeacher, pool: Sequence[Text]) -> Iterator[Figure]:
    began = time.perf_counter()
    stepping = _begun(task, teacher, pool)
    synchronize(task.device)
    yield Figure("until it is compiled", time.perf_counter() - began, "s")
    took = seconds(task.device, partial(list, stepping))
    speed = task.steps * task.batch * task.length / took
    held = TOKENS_PER_SECOND if task.large else None
    yield Figure("tokens a second, 32 x 512", speed, "tok/s", at_least=held)
    yield Figure("memory", peak_gib(task.device), "GiB", at_most=GIB if task.large else None)


def _of_changing_lengths(task: Task, teacher: CachedTeacher, pool: Sequence[Text]) -> Figure:
    stepping = _begun(task, teacher, pool)
    took = seconds(task.device, partial(list, stepping))
    responses = sum(len(text.response_ids) for text in pool) / len(pool)
    speed = responses * task.batch * task.steps / took
    held = DOLLY_RESPONSE_TOKENS_PER_SECOND if task.large else None
    return Figure("response tokens a second, Dolly", speed, "tok/s", at_least=held)


def _begun(task: Task, teacher: CachedTeacher, pool: Sequence[Text]) -> Iterator[int]:
    """The steps of a compiled run, the first three done."""
    made = _compiled(_run(task, teacher, pool, task.steps + 3))
    stepping = train(made, initial_state(made))
    list(islice(stepping, 3))
    return stepping


def _run(task: Task, teacher: CachedTeacher, pool: Sequence[Text], steps: int) -> TrainingRun:
    student = model(task.name, 1, task.device)
    return run(METHOD, student, teacher, pool, budget_of(steps, task.batch), 1, BUDGET)


def _compiled(made: TrainingRun) -> TrainingRun:
    """Compiled on a GPU however few the steps are; on a CPU as it is."""
    return try_compile(made, "inductor") if made.student.device.type == "cuda" else made


def _stored(folder: Path, task: Task, pool: Sequence[Text]) -> CachedTeacher:
    teacher = model(task.name, 2, task.device).requires_grad_(False)
    capture = Capture(teacher, CacheJob(k=TOP), BUDGET)
    return stored(folder, capture, capture.batches(pool))
