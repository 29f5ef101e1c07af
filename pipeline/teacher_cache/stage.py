"""The teacher cache: one forward pass over the texts, log-probabilities of some tokens to Parquet.

They are of the teacher's top K tokens, or of a few that were drawn from it; either way with the
token that really comes next.
"""

import hashlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline import artifacts, cli, costs, schemas, vocabulary
from pipeline.corpus import read_texts
from pipeline.costs import cost_of_pieces
from pipeline.language_model import default_device, load, parameter_count
from pipeline.pieces import Pieces, link
from pipeline.sampled_targets import sampled
from pipeline.settings.teacher import CacheJob
from pipeline.signal import PerToken, Signal, dense, of_target
from pipeline.stopwatch import Stopwatch, device_name
from pipeline.teachers import LiveTeacher
from pipeline.texts import Batch, Text, micro_batches
from pipeline.workload import count

Columns = dict[str, list]


@dataclass(frozen=True)
class Captured:
    """What is kept of the teacher at some tokens."""

    signal: Signal
    target_log_probs: PerToken  # exact, of the token that really comes next

    def rows(self, first: int, count: int) -> Columns:
        """What is kept at `count` tokens from `first` on, as in a row of SIGNALS."""
        ids, rows = self.signal.support.ids, slice(first, first + count)
        assert ids is not None
        return {
            "ids": ids[rows].flatten().int().cpu().numpy(),
            "log_probs": self.signal.log_probs[rows].flatten().half().cpu().numpy(),
            "target_log_probs": self.target_log_probs[rows].cpu().numpy(),
        }


def likeliest(teacher: LiveTeacher, batch: Batch) -> Captured:
    """The teacher's top K."""
    signal = teacher.signal(batch)
    return Captured(signal, of_target(signal.log_probs, signal.support.target))


def drawn(teacher: LiveTeacher, draws: int, seed: int, batch: Batch) -> Captured:
    """What comes up when the teacher is drawn from at each token."""
    logits = teacher.logits(batch)
    uniforms = torch.cat([uniform_numbers(text, draws, seed) for text in batch.texts])
    signal = sampled(logits, batch.next_ids, draws, uniforms.to(logits.device))
    return Captured(signal, of_target(dense(logits, batch.next_ids).log_probs, batch.next_ids))


def uniform_numbers(text: Text, draws: int, seed: int) -> Float[Tensor, "tokens draws"]:
    """Uniform numbers in [0, 1) that depend on the seed and the example alone."""
    digest = hashlib.blake2b(f"cache/{seed}/{text.example_id}".encode(), digest_size=8).digest()
    generator = np.random.default_rng(int.from_bytes(digest))
    return torch.from_numpy(generator.random((len(text.response_ids), draws)))


def capture(
    read: Callable[[Batch], Captured], texts: Sequence[Text], budget: int, device: torch.device
) -> Iterator[dict[str, object]]:
    """A row of SIGNALS for each text, in an order of its own."""
    for batch in micro_batches(texts, budget, device):
        captured, first = read(batch), 0
        for text in batch.texts:
            count = len(text.response_ids)
            yield {"example_id": text.example_id} | captured.rows(first, count)
            first += count


def columns_of(rows: Iterator[dict[str, object]]) -> Columns:
    """The columns of a shard."""
    columns: Columns = {name: [] for name in schemas.SIGNALS.names}
    for row in rows:
        for name, value in row.items():
            columns[name].append(value)
    return columns


def reader(model: PreTrainedModel, settings: CacheJob) -> Callable[[Batch], Captured]:
    """What to ask of the model. Raises ValueError if its vocabulary is smaller than that."""
    size = model.config.vocab_size
    if settings.draws is not None:
        return partial(drawn, LiveTeacher(model), settings.draws, settings.seed)
    if settings.k > size:
        raise ValueError(f"teacher_cache.k = {settings.k}: the vocabulary has {size} tokens")
    return partial(likeliest, LiveTeacher(model, k=settings.k))


@dataclass(frozen=True)
class Shard:
    """Some of the texts of a split, and the file that their signal goes to."""

    file: str
    texts: Sequence[Text]


def shards(tokens: Path, settings: CacheJob) -> Iterator[Shard]:
    """All texts that are to be cached, a file's worth at a time."""
    for split in settings.splits:
        texts = read_texts(tokens / f"{split}.parquet")
        for first in range(0, len(texts), settings.shard_texts):
            number = first // settings.shard_texts
            part = texts[first : first + settings.shard_texts]
            yield Shard(f"{split}-{number:05d}.parquet", part)


def write_shard(
    folder: Path,
    shard: Shard,
    read: Callable[[Batch], Captured],
    budget: int,
    model: PreTrainedModel,
) -> dict[str, object]:
    """Its file, in `folder`; how many tokens it has, ids a token has, and what it took."""
    watch, work = Stopwatch(model.device), count(model)
    columns = columns_of(capture(read, shard.texts, budget, model.device))
    schemas.write(folder / shard.file, columns, schemas.SIGNALS)
    tokens = sum(len(text.response_ids) for text in shard.texts)
    usage = watch.usage()
    cli.progress(f"{shard.file}: {len(shard.texts)} texts, {tokens / usage.seconds:.0f} tok/s")
    k = len(columns["ids"][0]) // len(columns["target_log_probs"][0])
    return {"tokens": tokens, "k": k, "usage": asdict(usage), "work": asdict(work)}


def run(options: Namespace) -> None:
    """Writes the cache of one teacher over one set of texts."""
    torch.set_num_threads(options.threads)
    settings = CacheJob.model_validate(options.job.settings)

    inputs = {"teacher": options.teacher, "tokens": options.tokens}
    cli.begin(options.out, options.job, inputs)

    vocabulary.check(options.teacher, options.tokens)
    model = load(options.teacher, default_device())
    read, size = reader(model, settings), model.config.vocab_size
    pieces, made = Pieces(options.state, options.job, inputs), {}
    for shard in shards(options.tokens, settings):
        budget = options.micro_batch_tokens
        make = partial(write_shard, shard=shard, read=read, budget=budget, model=model)
        made[shard.file] = pieces.get(shard.file, make)

    with artifacts.whole(options.out) as folder:
        folder.mkdir()
        for file, piece in made.items():
            link(piece / file, folder / file)
        facts = [pieces.facts(file) for file in made]
        k = facts[0]["k"]
        device, parameters = device_name(model.device), parameter_count(model)
        costs.write(folder, cost_of_pieces(facts, device=device, parameters=parameters))
        artifacts.write_manifest(
            folder,
            options.job,
            inputs,
            draws=settings.draws,
            k=k,
            support=k + (k < size),
            vocabulary=size,
            shards=list(made),
            tokens=sum(one["tokens"] for one in facts),
            bytes=sum(path.stat().st_size for path in folder.glob("*.parquet")),
        )
    pieces.forget()
