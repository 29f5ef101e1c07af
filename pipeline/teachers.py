"""Where a teacher's signal comes from: a live model, or a cache that one was written to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline import artifacts, schemas
from pipeline.language_model import Precision, autocast, response_hidden, scored
from pipeline.signal import Forecast, LogProbs, PerToken, Signal, Support, dense, top_k
from pipeline.texts import Batch


@runtime_checkable
class Teacher(Protocol):
    """Anything that says what should come next in a batch."""

    def signal(self, batch: Batch) -> Signal:
        """The distribution at each response token, without gradient."""
        ...

    def forecast(self, batch: Batch) -> Forecast:
        """The same distributions, for whoever wants them part by part."""
        ...


@dataclass(frozen=True)
class LiveTeacher:
    """A model that is asked at every batch: dense, or on its top k."""

    model: PreTrainedModel
    precision: Precision = "auto"
    k: int | None = None

    def logits(self, batch: Batch) -> Float[Tensor, "tokens vocabulary"]:
        """The model's logits at each response token, without gradient."""
        return LiveForecast(self, batch).logits(slice(None))

    def signal(self, batch: Batch) -> Signal:
        """The model's distribution at each response token."""
        return self.forecast(batch).part(slice(None))

    def forecast(self, batch: Batch) -> "LiveForecast":
        """The same; the model reads the batch when it is first asked."""
        return LiveForecast(self, batch)


@dataclass(frozen=True)
class LiveForecast:
    """A live teacher over a batch, read once; of its logits a part exists at a time."""

    teacher: LiveTeacher
    batch: Batch

    def part(self, rows: slice) -> Signal:
        """The distribution at each of these tokens."""
        logits, next_ids = self.logits(rows), self.batch.next_ids[rows]
        if self.teacher.k is None:
            return dense(logits, next_ids)
        return top_k(logits, next_ids, self.teacher.k)

    @torch.no_grad()
    def logits(self, rows: slice) -> Float[Tensor, "tokens vocabulary"]:
        """The model's logits at each of these tokens."""
        with self._precision():
            return scored(self.teacher.model, self._hidden[rows]).float()

    @cached_property
    def _hidden(self) -> Float[Tensor, "tokens width"]:
        with self._precision():
            return response_hidden(self.teacher.model, self.batch)

    def _precision(self) -> torch.autocast:
        return autocast(self.teacher.model.device, self.teacher.precision)


@dataclass(frozen=True)
class Entry:
    """The signal of one text: ids [tokens, k] and log-probabilities [tokens, support]."""

    ids: np.ndarray
    log_probs: np.ndarray
    target_log_probs: np.ndarray


@dataclass(frozen=True)
class CachedTeacher:
    """A teacher that was written to disk, looked up by example.

    Log-probabilities are stored in half precision, which leaves a row's sum some 1e-4 off one.
    They are made exact when read, so that a KL on them is never negative.
    """

    name: Path
    entries: dict[str, Entry]
    draws: int | None = None  # tokens drawn at each place; None: its top K

    def signal(self, batch: Batch) -> Signal:
        """The stored distributions. Raises ValueError for a text that was not cached."""
        found = [self._entry(text.example_id, len(text.response_ids)) for text in batch.texts]
        ids = torch.from_numpy(np.concatenate([one.ids for one in found]).astype(np.int64))
        log_probs = torch.from_numpy(np.concatenate([one.log_probs for one in found])).float()
        exact = torch.from_numpy(np.concatenate([one.target_log_probs for one in found]))
        next_ids = torch.tensor([one for text in batch.texts for one in text.response_ids])

        is_target = ids == next_ids[:, None]
        if not is_target.any(-1).all():
            raise ValueError(f"{self.name} was made from other texts; delete it and run again")
        target = is_target.int().argmax(-1)
        signal = Signal(self._exact(log_probs, target, exact), Support(target=target, ids=ids))
        return signal.to(batch.next_ids.device)  # all at once: lookups never wait for a GPU

    def forecast(self, batch: Batch) -> Signal:
        """The same: it is small."""
        return self.signal(batch)

    def _exact(self, stored: LogProbs, target: Tensor, of_target: PerToken) -> LogProbs:
        if self.draws is None:
            return stored.scatter(-1, target[:, None], of_target[:, None]).log_softmax(-1)
        # the next token has the share of the draws that it got, often none: only so are the
        # shares on average the teacher's probabilities
        return ((stored.exp() * self.draws).round() / self.draws).log()

    def _entry(self, example_id: str, tokens: int) -> Entry:
        entry = self.entries.get(example_id)
        if entry is None or len(entry.ids) != tokens:
            raise ValueError(
                f"{self.name} has no signal of {tokens} tokens for example {example_id}: "
                "it was made from other texts; delete it and run again"
            )
        return entry


def open_cache(folder: Path, splits: Sequence[str]) -> CachedTeacher:
    """The cache in `folder`, these splits of it in memory. Raises ValueError if damaged."""
    manifest = artifacts.read_json(folder / artifacts.MANIFEST)
    k, width = manifest["k"], manifest["support"]
    entries: dict[str, Entry] = {}
    for split in splits:
        for shard in _shards(folder, manifest["shards"], split):
            entries.update(_entries(shard, k, width))
    return CachedTeacher(folder, entries, manifest["draws"])


def _shards(folder: Path, names: Iterable[str], split: str) -> list[Path]:
    found = [folder / name for name in names if name.startswith(f"{split}-")]
    missing = [path for path in found if not path.exists()]
    if not found or missing:
        raise ValueError(f"{folder} lacks {missing or split}; delete it and run again")
    return found


def _entries(shard: Path, k: int, width: int) -> Iterable[tuple[str, Entry]]:
    table = schemas.read(shard, schemas.SIGNALS)
    columns = [table.column(name).combine_chunks() for name in table.schema.names[1:]]
    ids, log_probs, targets = (
        column.flatten().to_numpy(zero_copy_only=False) for column in columns
    )
    ids = ids.reshape(-1, k).astype(np.uint16 if ids.max(initial=0) < 2**16 else np.int32)
    log_probs = log_probs.reshape(-1, width)

    bounds = np.cumsum([0, *columns[2].value_lengths().to_pylist()])
    names = table.column("example_id").to_pylist()
    for name, first, last in zip(names, bounds[:-1], bounds[1:], strict=True):
        yield name, Entry(ids[first:last], log_probs[first:last], targets[first:last])


def check_cache(folder: Path, texts: Path, vocabulary: int) -> None:
    """Raises ValueError unless the cache was made from these texts in this vocabulary.

    Its teacher is part of its id, so a cache of another teacher stands under a name not its own.
    """
    manifest = artifacts.read_json(folder / artifacts.MANIFEST)
    if manifest["id"] != folder.name:
        raise ValueError(
            f"{folder} holds {manifest['id']}, the signal of {manifest['inputs']['teacher']}; "
            "delete it and run again"
        )
    made_from, wanted = manifest["inputs"]["tokens"], artifacts.read_id(texts)
    if made_from != wanted:
        raise ValueError(
            f"{folder} holds the teacher's signal for {made_from}, not for {wanted} ({texts}); "
            "delete it and run again"
        )
    if manifest["vocabulary"] != vocabulary:
        raise ValueError(
            f"{folder} is over {manifest['vocabulary']} tokens, the student over {vocabulary}: "
            "teacher and student must share a vocabulary"
        )
