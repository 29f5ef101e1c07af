"""Teacher caches of every tier: captured on the device, written, read, held against float32."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.cache_subjects import stored
from benchmarks.gpu_check.figures import Figure
from benchmarks.gpu_check.subjects import texts, tiny
from pipeline.data.batch import Text, collate
from pipeline.distributions.log_probs import TeacherSignal, target_log_prob
from pipeline.models.language_model import default_device
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.teacher import CacheJob
from pipeline.teacher_cache.capture import Capture

TITLE = "caches of every tier against the live teacher"
SECONDS = 60
TIERS = {
    "top 64": CacheJob(k=64),
    "hidden": CacheJob(tier="hidden"),
    "sampled": CacheJob(draws=32),
}
STORED_NATS = 2e-3  # what a tier's own rounding may cost, against the teacher on the same device
# bfloat16 against float32, of a peaked teacher
MEAN_NATS, WORST_NATS = 0.03, 0.3
OVERLAP = 0.97
CPU = torch.device("cpu")


def measure(device: torch.device) -> Iterator[Figure]:
    """Errors of the next token's log-probability, and how many ids of a support are the same."""
    default_device()
    pool = texts(64)
    exact = LiveTeacher(tiny("llama", 1, CPU), "float32").signal(collate(pool, CPU))
    live = LiveTeacher(tiny("llama", 1, device)).signal(collate(pool, device)).to(CPU)
    for name, settings in TIERS.items():
        with tempfile.TemporaryDirectory() as folder:
            kept = _stored(Path(folder), settings, device, pool)
        if settings.written_tier == "sampled":
            same = _same_draws(settings, device, pool)
            yield Figure(f"{name}: draws as on a CPU", same, at_least=OVERLAP)
            continue
        yield from _errors(name, kept, live, exact)
        if settings.written_tier == "top_k":
            expected = exact.log_probs.topk(settings.k).indices
            shared = _shared(kept.support.ids, expected)
            yield Figure(f"{name}: ids as in float32", shared, at_least=OVERLAP)


def _errors(
    name: str, kept: TeacherSignal, live: TeacherSignal, exact: TeacherSignal
) -> Iterator[Figure]:
    """Of what is stored, to the teacher on the same device and to the one in float32 on the CPU."""
    ours, same, right = (
        target_log_prob(signal.log_probs, signal.support.target) for signal in (kept, live, exact)
    )
    error = (ours - same).abs().mean().item()
    yield Figure(f"{name}: error to the live teacher", error, "nats", at_most=STORED_NATS)
    off = (ours - right).abs()
    yield Figure(f"{name}: to float32, mean", off.mean().item(), "nats", at_most=MEAN_NATS)
    worst = off.quantile(0.99).item()
    yield Figure(f"{name}: to float32, 99 %", worst, "nats", at_most=WORST_NATS)


def _shared(drawn: Tensor, expected: Tensor) -> float:
    """The share of ids [tokens, k] that are among those expected of their token [tokens, n]."""
    return (drawn[:, :, None] == expected[:, None, :]).any(-1).float().mean().item()


def _stored(
    folder: Path, settings: CacheJob, device: torch.device, pool: Sequence[Text]
) -> TeacherSignal:
    capture = Capture(tiny("llama", 1, device), settings, 4096)
    return stored(folder, capture, capture.batches(pool)).signal(collate(pool, CPU))


def _same_draws(settings: CacheJob, device: torch.device, pool: Sequence[Text]) -> float:
    """The share of drawn ids that the CPU's float32 teacher draws, too, from the same numbers."""
    drawn = []
    for where in (device, CPU):
        kept = list(Capture(tiny("llama", 1, where), settings, 4096).batches(pool))
        for reduced in kept:
            reduced.wait()
        drawn.append(torch.cat([part["ids"] for reduced in kept for part in reduced.chunks]))
    return _shared(*drawn)
