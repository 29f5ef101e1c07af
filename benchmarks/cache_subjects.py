"""What benchmarks of the teacher cache share: a teacher, texts, and caches of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.models.language_model import response_hidden
from pipeline.settings.memory import CACHE_READER_BYTES
from pipeline.settings.teacher import CacheJob
from pipeline.stages import cache_teacher as stage
from pipeline.teacher_cache import lm_head, writer
from pipeline.teacher_cache.capture import Capture, CapturedBatch
from pipeline.teacher_cache.format import HEAD
from pipeline.teacher_cache.reader import CachedTeacher, open_cache

FILE = "train-00000.parquet"
TIERS = {
    **{f"top {k}": CacheJob(k=k) for k in (8, 16, 64, 256)},
    "sampled, 50 draws": CacheJob(draws=50),
    "hidden state": CacheJob(tier="hidden"),
}

Row = dict[str, str | int | float]
Read = tuple[Batch, Tensor]  # a micro-batch, and what the teacher's body says of it


@dataclass(frozen=True)
class Options:
    """What all parts share."""

    teacher: PreTrainedModel
    tokenizer: Path
    train: Sequence[Text]
    test: Sequence[Text]
    budget: int
    steps: int


def stored(
    folder: Path,
    capture: Capture,
    batches: Iterable[CapturedBatch],
    memory_bytes: int = CACHE_READER_BYTES,
) -> CachedTeacher:
    """A cache of what was captured, written to a folder that is made for it, and opened."""
    folder.mkdir(exist_ok=True)
    facts = stage.cache_metadata(capture.model, capture.settings, [FILE])
    writer.write(folder / FILE, list(batches), facts)
    if facts.tier == "hidden":
        lm_head.save(capture.model, folder / HEAD)
    return open_cache(folder, ["train"], facts, memory_bytes)


def size(folder: Path) -> int:
    """The bytes of a cache's shard."""
    return (folder / FILE).stat().st_size


@torch.no_grad()
def read_once(options: Options, texts: Sequence[Text]) -> list[Read]:
    """The texts through the teacher's body."""
    teacher = options.teacher
    batches = micro_batches(texts, options.budget, teacher.device)
    return [(batch, response_hidden(teacher, batch)) for batch in batches]
