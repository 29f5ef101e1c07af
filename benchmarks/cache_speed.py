"""How fast a teacher cache is made and read, and what its layout is worth."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from benchmarks.cache_subjects import TIERS, Options, Row, read_once, write
from pipeline.artifacts.artifact import Job
from pipeline.artifacts.resumable_parts import ResumableParts
from pipeline.data.batch import Text, micro_batches
from pipeline.models.language_model import response_logits
from pipeline.settings.teacher import CacheJob
from pipeline.stages import cache_teacher as stage
from pipeline.teacher_cache import packing
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.reader import CachedTeacher, opened

SHARDS, REPEATS = 4, 5
COPIES, DRAWN_TEXTS, ROUNDS = 100, 32, 60
MIB = 1 << 20


def layouts(options: Options, _: Path) -> Iterator[Row]:
    """Bytes a token that zstd leaves of the parts of a top 64, put down in several ways."""
    parts = [
        part
        for one in read_once(options, options.train)
        for part in Capture(options.teacher, TIERS["top 64"], options.budget).of_states(*one).parts
    ]
    ids = torch.cat([one["ids"] for one in parts]).numpy()
    log_probs = torch.cat([one["log_probs"] for one in parts]).numpy()
    octaves = packing.octaves(ids.ravel(), options.teacher.config.vocab_size)
    places = packing.positions(packing.order(octaves))[ids]
    by_id = np.take_along_axis(log_probs, ids.argsort(axis=-1), axis=-1)
    by_place = np.take_along_axis(log_probs, places.argsort(axis=-1), axis=-1)
    ways = {
        "ids by rank": [ids],
        "ids in order, gaps": [packing.gaps(np.sort(ids))],
        "ids by octave, gaps, and the octaves": [packing.gaps(np.sort(places)), octaves],
        "values by rank, half precision": [_halves(log_probs)],
        "values by id, half precision": [_halves(by_id)],
        "values by octave, steps of 1/128": _levels(np.rint(by_place * 128)),
        "values by octave, steps of 1/64": _levels(np.rint(by_place * 64)),
        "values by octave, steps of 1/64, of 1/32 below e^-6": _levels(packing.steps(by_place)),
    }
    for name, columns in ways.items():
        frames = [plane.tobytes() for one in columns for plane in _planes(one)]
        yield {"part": name, "bytes_per_token": len(packing.compressed(frames)) / len(ids)}


def _halves(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).view(np.uint16)


def _levels(steps: np.ndarray) -> list[np.ndarray]:
    floors = steps.min(axis=-1, keepdims=True)
    return [steps - floors, -floors]


def _planes(numbers: np.ndarray) -> Iterator[np.ndarray]:
    wide = numbers.astype(np.uint16)
    yield from (wide.astype(np.uint8), (wide >> 8).astype(np.uint8))


def capture(options: Options, folder: Path) -> Iterator[Row]:
    """The bare forward pass over some shards, and the capture of their top 64."""
    model, texts = options.teacher, options.train
    settings = CacheJob(k=64)
    asked = Capture(model, settings, options.budget)
    parts = [texts[at::SHARDS] for at in range(SHARDS)]
    wanted = [stage.Shard(f"train-{at:05d}.parquet", part) for at, part in enumerate(parts)]
    facts = stage.facts_of(model, settings, [one.file for one in wanted])

    def bare() -> None:
        for part in parts:
            forward(model, part, options)

    def store(place: Path) -> None:
        stage.capture_shards(asked, wanted, ResumableParts(place, Job("", "", {}), {}), facts, "")

    bare()  # warms up
    seconds = [
        (_seconds(bare), _seconds(lambda at=at: store(folder / f"capture{at}")))
        for at in range(REPEATS)
    ]
    alone, captured = (min(column) for column in zip(*seconds, strict=True))
    yield {
        "response_tokens": sum(len(text.response_ids) for text in texts),
        "bare_seconds": alone,
        "capture_seconds": captured,
        "ratio": captured / alone,
        "ratios_of_pairs": " ".join(f"{took / bare:.2f}" for bare, took in seconds),
    }


@torch.no_grad()
def forward(model: PreTrainedModel, texts: Sequence[Text], options: Options) -> None:
    """Logits at the response tokens, looked at by nobody."""
    for batch in micro_batches(texts, options.budget, model.device):
        response_logits(model, batch)
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def reading(options: Options, folder: Path) -> Iterator[Row]:
    """Random texts, of a top 64 and of hidden states; memory is what the process grew by."""
    texts = options.train[:64]
    read = read_once(options, texts)
    pool = [
        replace(text, example_id=f"{text.example_id}/{copy}")
        for copy in range(COPIES)
        for text in texts
    ]
    for name in ("top 64", "hidden state"):
        place = folder / f"reading_{name.replace(' ', '_')}"
        place.mkdir()
        facts, size = write(
            place,
            Capture(options.teacher, TIERS[name], options.budget),
            [
                (
                    replace(
                        batch,
                        texts=[
                            replace(one, example_id=f"{one.example_id}/{copy}")
                            for one in batch.texts
                        ],
                    ),
                    states,
                )
                for copy in range(COPIES)
                for batch, states in read
            ],
        )
        for memory in (512 * MIB, 8 * MIB):
            yield {"tier": name, "memory_mib": memory // MIB, "file_mib": size / MIB} | _random(
                opened(place, facts, ["train"], memory), pool
            )


def _random(cached: CachedTeacher, pool: Sequence[Text]) -> dict[str, float]:
    """Lookups as a prefetching thread makes them: all but the head of hidden states."""
    draw, device = np.random.default_rng(0), torch.device("cpu")
    pa.default_memory_pool().release_unused()
    before, seconds, tokens = _resident(), 0.0, 0
    for first in range(0, len(pool), DRAWN_TEXTS):  # warms up: an epoch
        cached.store.rows(pool[first : first + DRAWN_TEXTS])
    for _ in range(ROUNDS):
        chosen = [pool[one] for one in draw.choice(len(pool), DRAWN_TEXTS, replace=False)]
        batch = next(micro_batches(chosen, 1 << 30, device))
        took = _seconds(lambda batch=batch: cached.distributions(batch))
        seconds, tokens = seconds + took, tokens + batch.token_count
    rows = cached.store.rows(chosen)
    width = sum(one.nbytes for one in rows.values()) / len(rows["target"])
    return {
        "tokens_per_second": tokens / seconds,
        "mb_per_second": tokens * width / seconds / 1e6,
        "resident_mib": (_resident() - before) / MIB,
        "decoded_mib": cached.store.decoded_bytes / MIB,
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
