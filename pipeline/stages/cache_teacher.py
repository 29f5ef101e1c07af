"""The teacher cache: one forward pass over the texts, what is kept of it to Parquet.

One shard is written while the teacher reads the next one.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from transformers import PreTrainedModel

from pipeline.artifacts import artifact
from pipeline.artifacts.resumable_parts import ResumableParts, link
from pipeline.data.batch import Text, read_all_texts, read_texts
from pipeline.models import positions, vocabulary
from pipeline.models.flops import count
from pipeline.models.language_model import load_frozen
from pipeline.models.logits import LogitScaling, logit_scaling
from pipeline.models.sharding import in_company, load_to_read
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime import costs
from pipeline.runtime.meter import Stopwatch
from pipeline.runtime.progress import log
from pipeline.settings.teacher import CacheJob
from pipeline.stages import divided
from pipeline.stages import verify_cache as verify
from pipeline.stages.divided import DividedWork, cost_of_pieces
from pipeline.stages.options import CacheTeacherOptions
from pipeline.teacher_cache import lm_head
from pipeline.teacher_cache import writer as shards
from pipeline.teacher_cache.capture import Capture, CapturedBatch
from pipeline.teacher_cache.format import HEAD, CacheMetadata
from pipeline.teacher_cache.reader import open_cache

VERIFIED_SHARE = 0.01  # of the texts, one at least
MOST_VERIFIED = 10_000  # texts, however many there are: they are in memory together


@dataclass(frozen=True)
class Shard:
    """Some of the texts of a split, and the file that their signal goes to."""

    file: str
    texts: Sequence[Text]


def shards_of(tokens: Path, settings: CacheJob) -> Iterator[Shard]:
    """All texts that are to be cached, a file's worth at a time."""
    for split in settings.splits:
        texts = read_texts(tokens / f"{split}.parquet")
        for first in range(0, len(texts), settings.shard_texts):
            number = first // settings.shard_texts
            part = texts[first : first + settings.shard_texts]
            yield Shard(f"{split}-{number:05d}.parquet", part)


def cache_metadata(model: PreTrainedModel, settings: CacheJob, files: list[str]) -> CacheMetadata:
    """How the cache of a model is written. Raises ValueError if its vocabulary is too small."""
    size = model.config.vocab_size
    if settings.written_tier == "top_k" and settings.k > size:
        raise ValueError(f"teacher_cache.k = {settings.k}: the vocabulary has {size} tokens")
    scaling = logit_scaling(model) if settings.written_tier == "hidden" else LogitScaling()
    return CacheMetadata(
        tier=settings.written_tier,
        vocabulary=size,
        shards=files,
        k=settings.k if settings.written_tier == "top_k" else None,
        draws=settings.draws,
        hidden_scale=scaling.hidden,
        logit_scale=scaling.logits,
        softcap=scaling.cap,
        precision=settings.precision,
    )


def capture_shards(
    capture: Capture,
    wanted: Sequence[Shard],
    parts: ResumableParts,
    metadata: CacheMetadata,
    teacher: str,
) -> None:
    """Captures unfinished shards. Raises ValueError for a teacher that gives NaN."""
    with ThreadPoolExecutor(max_workers=1) as writer:
        writing: Future[Path] | None = None
        for shard in wanted:
            watch, counter = Stopwatch(capture.model.device), count(capture.model)
            captured = list(capture.batches(shard.texts))
            captured[-1].wait()
            shards.check_finite(captured, teacher)
            cost = watch.cost() + counter.as_teacher()
            tokens = sum(text.target_count for text in shard.texts)
            rate = f"{tokens / cost.seconds:.0f} tok/s"
            log(f"{shard.file}: {len(shard.texts)} texts, {rate}")
            facts = {"tokens": tokens, "cost": asdict(cost)}
            if writing is not None:
                writing.result()  # no more than two shards are in memory
            make = partial(_write, shard=shard, captured=captured, metadata=metadata, facts=facts)
            writing = writer.submit(parts.get_or_make, shard.file, make)
        if writing is not None:
            writing.result()


def _write(
    folder: Path,
    shard: Shard,
    captured: Sequence[CapturedBatch],
    metadata: CacheMetadata,
    facts: Mapping[str, object],
) -> Mapping[str, object]:
    shards.write(folder / shard.file, captured, metadata)
    return facts


def run(options: CacheTeacherOptions) -> None:
    """Writes the cache of one teacher over one set of texts."""
    torch.set_num_threads(options.threads)
    settings = CacheJob.model_validate(options.job.settings)
    work = divided.begin(options)
    vocabulary.check_teacher(options.teacher, options.tokens)
    # logits are taken of the head as it was saved
    load_on = partial(load_frozen, options.teacher, keeps_head=True)
    model = load_to_read(load_on, settings.precision, work.ranks, sharded=options.sharded)
    wanted = {shard.file: shard for shard in shards_of(options.tokens, settings)}
    metadata = cache_metadata(model, settings, list(wanted))
    capture = Capture(model, settings, options.micro_batch_tokens)
    mine = [wanted[file] for file in work.left(metadata.shards)]
    texts = chain.from_iterable(shard.texts for shard in mine)
    positions.check(options.teacher, model.config, texts, 0, "tokens.response_tokens")
    with in_company(model, work.ranks):
        capture_shards(capture, mine, work.pieces, metadata, artifact.read_id(options.teacher))
    puts_together = work.puts_together(metadata.shards)
    with in_company(model, work.ranks):  # it is verified with the model
        if puts_together:
            put_together(options, capture, metadata, work)


def put_together(
    options: CacheTeacherOptions, capture: Capture, metadata: CacheMetadata, work: DividedWork
) -> None:
    """Writes the cache of finished shards, once a share of it agrees with the teacher."""
    with work.create_whole() as (folder, facts):
        for file in metadata.shards:
            link(options.state / file / file, folder / file)
        if metadata.tier == "hidden":
            lm_head.save(capture.model, folder / HEAD)
        checked = _verified(capture, folder, metadata, options.tokens)
        verify.check_error(checked, options.out, artifact.read_id(options.teacher))
        made = [work.pieces.facts(file) for file in metadata.shards]
        costs.write(folder, cost_of_pieces(made, capture.model))
        facts |= asdict(metadata) | {"verified": asdict(checked)}
        facts["tokens"] = sum(shard["tokens"] for shard in made)
        facts["bytes"] = sum(path.stat().st_size for path in folder.glob("*.parquet"))


def _verified(
    capture: Capture, folder: Path, metadata: CacheMetadata, tokens: Path
) -> verify.Verified:
    """The errors of a share of the cache against its teacher. Not counted as a cost."""
    splits = capture.settings.splits
    texts = read_all_texts([tokens / f"{split}.parquet" for split in splits], "gold")
    share = min(VERIFIED_SHARE, MOST_VERIFIED / len(texts))
    return verify.compare(
        open_cache(folder, splits, metadata),
        LiveTeacher(capture.model, capture.settings.precision),
        verify.draw_texts(texts, share, capture.settings.seed),
        metadata,
        capture.settings.seed,
        capture.max_tokens,
    )
