"""Where a teacher's signal comes from: a live model, or a cache that one was written to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline import artifacts, schemas
from pipeline.language_model import Precision, autocast, response_logits
from pipeline.signal import LogProbs, PerToken, Signal, Support, dense, top_k
from pipeline.texts import Batch


@runtime_checkable
class Teacher(Protocol):
    """Anything that says what should come next in a batch."""

    def signal(self, batch: Batch) -> Signal:
        """The distribution at each response token, without gradient."""
        ...


@dataclass(frozen=True)
class LiveTeacher:
    """A model that is asked at every batch: dense, or on its top k."""

    model: PreTrainedModel
    precision: Precision = "auto"
    k: int | None = None

    @torch.no_grad()
    def logits(self, batch: Batch) -> Float[Tensor, "tokens vocabulary"]:
        """The model's logits at each response token, without gradient."""
        with autocast(self.model.device, self.precision):
            return response_logits(self.model, batch).float()

    def signal(self, batch: Batch) -> Signal:
        """The model's distribution at each response token."""
        if self.k is None:
            return dense(self.logits(batch), batch.next_ids)
        return top_k(self.logits(batch), batch.next_ids, self.k)


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
        device = batch.next_ids.device
        ids = torch.from_numpy(np.concatenate([one.ids for one in found]).astype(np.int64))
        log_probs = torch.from_numpy(np.concatenate([one.log_probs for one in found])).float()
        exact = torch.from_numpy(np.concatenate([one.target_log_probs for one in found]))
        ids, log_probs, exact = ids.to(device), log_probs.to(device), exact.to(device)

        is_target = ids == batch.next_ids[:, None]
        if not is_target.any(-1).all():
            raise ValueError(f"{self.name} was made from other texts; delete it and run again")
        target = is_target.int().argmax(-1)
        return Signal(self._exact(log_probs, target, exact), Support(target=target, ids=ids))

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
