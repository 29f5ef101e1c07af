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
from pipeline.artifacts import Job
from pipeline.cache import packing
from pipeline.cache.cached_teacher import CachedTeacher, opened
from pipeline.language_model import response_logits
from pipeline.models.stage import from_shape
from pipeline.pieces import Pieces
from pipeline.settings.models import Shape
from pipeline.settings.teacher import CacheJob
from pipeline.teacher_cache import stage
from pipeline.teacher_cache.capture import Capture
from pipeline.texts import Text, micro_batches

LARGE_OF_DEMO = Shape(source="shape", layers=2, width=160, heads=5)
DEMO_VOCABULARY, DEMO_PROMPT, DEMO_RESPONSE = 2048, 41, 19
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
    ways: dict[str, list[np.ndarray]] = {
        "ids by rank": packing.planes(ids, 2),
        "ids in order, gaps": packing.planes(packing.gaps(np.sort(ids)), 2),
        "ids by octave, gaps, and the octaves": [
            *packing.planes(packing.gaps(np.sort(places)), 2),
            octaves,
        ],
        "values by rank, half precision": _halves(log_probs),
        "values by id, half precision": _halves(by_id),
        "values by id, steps of 1/128": _levels(by_id, 1 / 128),
        "values by id, steps of 1/64": _levels(by_id, 1 / 64),
    }
    for name, planes in ways.items():
        size = sum(len(packing.packed(one.ravel())) for one in planes)
        yield {"part": name, "bytes_per_token": size / len(ids)}


def _halves(values: np.ndarray) -> list[np.ndarray]:
    return packing.planes(values.astype(np.float16).view(np.uint16), 2)


def _levels(values: np.ndarray, step: float) -> list[np.ndarray]:
    steps = np.rint(values / step)
    floors = steps.min(axis=-1, keepdims=True)
    return [*packing.planes(steps - floors, 2), *packing.planes(-floors, 2)]


def demo_teacher(options: Options) -> tuple[PreTrainedModel, list[Text]]:
    """A model of the default experiment's size, from fresh weights, and texts of its lengths."""
    model = from_shape(LARGE_OF_DEMO, range(DEMO_VOCABULARY), 0).eval()
    draw = np.random.default_rng(0)
    texts = [
        Text(
            f"demo-{at}",
            draw.integers(DEMO_VOCABULARY, size=DEMO_PROMPT).tolist(),
            draw.integers(DEMO_VOCABULARY, size=DEMO_RESPONSE).tolist(),
        )
        for at in range(1500)
    ]
    return model.to(options.teacher.device), texts


def capture(options: Options, folder: Path) -> Iterator[Row]:
    """The bare forward pass and the capture of the top 64, of the teacher and of the demo's."""
    few = options.train[:24]
    subjects = {"teacher": (options.teacher, few), "demo": demo_teacher(options)}
    for name, (model, texts) in subjects.items():
        settings = CacheJob(k=64, shard_texts=max(1, len(texts) // 4))
        asked = Capture(model, settings, options.budget)
        files = [f"train-{at:05d}.parquet" for at in range(4)]
        parts = [texts[at :: len(files)] for at in range(len(files))]
        wanted = [stage.Shard(*one) for one in zip(files, parts, strict=True)]
        facts = stage.facts_of(model, settings, files)

        def store(place: Path, wanted=wanted, asked=asked, facts=facts) -> None:
            stage.capture_shards(asked, wanted, Pieces(place, Job("", "", {}), {}), facts)

        bare, took = [], []
        for at in range(3):
            bare.append(_seconds(lambda model=model, texts=texts: forward(model, texts, options)))
            took.append(_seconds(lambda name=name, at=at: store(folder / f"{name}{at}")))
        tokens = sum(len(text.response_ids) for text in texts)
        yield {
            "model": name,
            "response_tokens": tokens,
            "bare_seconds": min(bare),
            "capture_seconds": min(took),
            "ratio": min(took) / min(bare),
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
    for at in range(2 * ROUNDS):  # the first half warms up: an epoch is many rounds long
        chosen = [pool[one] for one in draw.choice(len(pool), DRAWN_TEXTS, replace=False)]
        batch = next(micro_batches(chosen, 1 << 30, device))
        took = _seconds(lambda batch=batch: cached.forecast(batch))
        if at >= ROUNDS:
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
