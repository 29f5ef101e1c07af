"""How fast a teacher cache is made and read, and what its layout is worth."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from benchmarks.cache_subjects import FILE, TIERS, Options, Row, read_once, size, stored
from benchmarks.measuring import resident_bytes, synchronize
from pipeline.artifacts.artifact import Job
from pipeline.artifacts.resumable_parts import ResumableParts
from pipeline.data.batch import Text, micro_batches
from pipeline.models.language_model import lm_head
from pipeline.settings.teacher import CacheJob
from pipeline.stages import cache_teacher as stage
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.reader import CachedTeacher

SHARDS, REPEATS = 4, 5
COPIES, DRAWN_TEXTS, ROUNDS = 100, 32, 60
MIB = 1 << 20


def layouts(options: Options, folder: Path) -> Iterator[Row]:
    """Bytes a token of each column of a top 64."""
    place, capture = folder / "layouts", Capture(options.teacher, TIERS["top 64"], options.budget)
    stored(place, capture, capture.batches(options.train))
    file = pq.ParquetFile(place / FILE).metadata
    for number in range(file.num_columns):
        chunks = [file.row_group(group).column(number) for group in range(file.num_row_groups)]
        size = sum(chunk.total_compressed_size for chunk in chunks)
        yield {"column": chunks[0].path_in_schema, "bytes_per_token": size / file.num_rows}


def capture(options: Options, folder: Path) -> Iterator[Row]:
    """The model's own forward pass over some shards, and the capture of their top 64.

    They take turns. The ratios are medians of pairs: of the seconds of all threads, and of those
    that went by, in which the thread that writes works beside the other.
    """
    model, texts = options.teacher, options.train
    settings = CacheJob(k=64)
    teacher = Capture(model, settings, options.budget)
    shards = [
        stage.Shard(f"train-{number:05d}.parquet", texts[number::SHARDS])
        for number in range(SHARDS)
    ]
    metadata = stage.cache_metadata(model, settings, [shard.file for shard in shards])

    def bare() -> None:
        for shard in shards:
            forward(model, shard.texts, options)

    def store(place: Path) -> None:
        parts = ResumableParts(place, Job("", "", {}), {})
        stage.capture_shards(teacher, shards, parts, metadata, "")

    bare()  # warms up
    pairs = [
        (_taken(bare), _taken(partial(store, folder / f"capture{number}")))
        for number in range(REPEATS)
    ]
    cpu = [captured.cpu / alone.cpu for alone, captured in pairs]
    wall = [captured.wall / alone.wall for alone, captured in pairs]
    yield {
        "response_tokens": sum(len(text.response_ids) for text in texts),
        "bare_cpu_seconds": median(alone.cpu for alone, _ in pairs),
        "capture_cpu_seconds": median(captured.cpu for _, captured in pairs),
        "ratio_of_cpu_seconds": median(cpu),
        "ratio_of_seconds": median(wall),
        "ratios_of_pairs": " ".join(f"{ratio:.2f}" for ratio in cpu),
    }


@torch.no_grad()
def forward(model: PreTrainedModel, texts: Sequence[Text], options: Options) -> None:
    """Logits at the response tokens by the model's own forward pass, looked at by nobody."""
    for batch in micro_batches(texts, options.budget, model.device):
        states = model.base_model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        lm_head(model, states.flatten(0, 1).index_select(0, batch.response_positions))
    synchronize(model.device)


@dataclass(frozen=True)
class Taken:
    """The seconds of some work: of all threads together, and those that went by."""

    cpu: float
    wall: float


def _taken(work: Callable[[], object]) -> Taken:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Taken(time.process_time() - cpu, time.perf_counter() - wall)


def reading(options: Options, folder: Path) -> Iterator[Row]:
    """Random texts, of a top 64 and of hidden states; memory is what the process grew by."""
    texts = options.train[:64]
    read = read_once(options, texts)
    pool = [text for copy in range(COPIES) for text in copied(texts, copy)]
    for name in ("top 64", "hidden state"):
        place = folder / f"reading_{name.replace(' ', '_')}"
        capture = Capture(options.teacher, TIERS[name], options.budget)
        for memory in (512 * MIB, 8 * MIB):
            batches = (
                capture.reduce(replace(batch, texts=copied(batch.texts, copy)), states)
                for copy in range(COPIES)
                for batch, states in read
            )
            cached = stored(place, capture, batches, memory)
            row = {"tier": name, "memory_mib": memory // MIB, "file_mib": size(place) / MIB}
            yield row | _random(cached, pool)


def copied(texts: Sequence[Text], copy: int) -> list[Text]:
    """The texts once more, as other examples."""
    return [replace(text, example_id=f"{text.example_id}/{copy}") for text in texts]


def _random(cached: CachedTeacher, pool: Sequence[Text]) -> dict[str, float]:
    """Lookups as a prefetching thread makes them: all but the head of hidden states."""
    draw, device = np.random.default_rng(0), torch.device("cpu")
    pa.default_memory_pool().release_unused()
    before, seconds, tokens = resident_bytes(), 0.0, 0
    for first in range(0, len(pool), DRAWN_TEXTS):  # warms up: an epoch
        cached.reader.rows(pool[first : first + DRAWN_TEXTS])
    for _ in range(ROUNDS):
        chosen = [pool[index] for index in draw.choice(len(pool), DRAWN_TEXTS, replace=False)]
        batch = next(micro_batches(chosen, 1 << 30, device))
        took = _taken(partial(cached.distributions, batch))
        seconds, tokens = seconds + took.wall, tokens + batch.token_count
    rows = cached.reader.rows(chosen)
    width = sum(column.nbytes for column in rows.values()) / len(rows["target"])
    return {
        "tokens_per_second": tokens / seconds,
        "mb_per_second": tokens * width / seconds / 1e6,
        "resident_mib": (resident_bytes() - before) / MIB,
        "decoded_mib": cached.reader.decoded_bytes / MIB,
    }
