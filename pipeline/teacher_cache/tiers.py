"""The tiers of a cache: how each decodes rows of its files, and the teacher signal that they give.

All tiers have the same attributes; `Tier` is any of them.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Batch
from pipeline.distributions.log_probs import (
    LogProbs,
    Support,
    TeacherSignal,
    dense,
)
from pipeline.distributions.sampled_targets import signal_from_counts
from pipeline.models.language_model import autocast
from pipeline.runtime.costs import ModelCounter
from pipeline.runtime.transfer import to_device
from pipeline.teacher_cache.format import (
    STEP_NATS,
    CacheMetadata,
    Rows,
    VocabularyOrder,
    dequantize,
    ranked,
)
from pipeline.teacher_cache.lm_head import LMHead


def _values(table: pa.Table, name: str) -> np.ndarray:
    """A column as an array; with a row for each token where its lists have one length."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.FixedSizeListArray):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(column), column.type.list_size)
    if isinstance(column, pa.ListArray):
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False)


def _ids(values: np.ndarray, device: torch.device) -> Int[Tensor, "tokens ids"]:
    return to_device(torch.from_numpy(values.astype(np.int32)), device).long()


def _numbers(values: np.ndarray, device: torch.device) -> Float[Tensor, "*tokens"]:
    return to_device(torch.from_numpy(values), device).float()


def top_ids(rows: Rows, device: torch.device) -> Int[Tensor, "tokens ranked"] | None:
    """The stored top-ranked tokens, whose order rounded numbers have lost; None of sampled ones."""
    return _ids(rows["top_ids"], device) if "top_ids" in rows else None


@dataclass(frozen=True)
class TopK:
    """The response token, the most likely others, and a bucket for the rest of the vocabulary.

    Log-probabilities are rounded, which leaves a row's sum some 1e-3 off one. It is made exact when
    read, so that a KL is never negative; the response token's log-probability was not rounded and
    stays as it is.
    """

    metadata: CacheMetadata
    work: ModelCounter = field(default_factory=ModelCounter)  # none

    def decode(self, table: pa.Table, order: VocabularyOrder | None) -> Rows:
        """Ids and quantized log-probabilities in vocabulary order, and the top-ranked tokens."""
        assert order is not None
        by_rank, token_ids = _values(table, "top_positions"), _values(table, "token_id")
        steps = _values(table, "log_prob_drops").cumsum(axis=-1, dtype=np.int64)

        # sorting whole numbers takes a fifth of the time of finding out their order
        by_position = by_rank.astype(np.int64) << 16 | steps
        by_position.sort(axis=-1)
        first = ranked(self.metadata)
        rank = _values(table, "rank").astype(np.int64)
        return {
            "token_ids": token_ids,
            "ids": order[by_position >> 16].astype(by_rank.dtype),
            "steps": (by_position & 0xFFFF).astype(np.int16),
            "target": _values(table, "log_prob"),
            "rest": _values(table, "rest_log_prob"),
            "top_ids": _inserted(order[by_rank[:, :first]], token_ids, rank, first),
        }

    def distributions(self, rows: Rows, batch: Batch) -> TeacherSignal:
        """A support with the response token first."""
        device = batch.next_ids.device
        ids = torch.cat([batch.next_ids[:, None], _ids(rows["ids"], device)], dim=-1)
        rounded = dequantize(_numbers(rows["steps"], device))
        target = _numbers(rows["target"], device)[:, None]
        if ids.shape[-1] < self.metadata.vocabulary:
            rounded = torch.cat([rounded, _numbers(rows["rest"], device)[:, None]], dim=-1)
        support = Support(target=torch.zeros_like(batch.next_ids), ids=ids)
        return TeacherSignal(_normalised(target, rounded), support)


def _inserted(ids: np.ndarray, token_ids: np.ndarray, rank: np.ndarray, count: int) -> np.ndarray:
    """The `count` top-ranked tokens: the others by rank, the response token at its own rank."""
    tokens, top_ids = np.arange(len(ids)), np.empty((len(ids), count), ids.dtype)
    for position in range(count):
        other = ids[tokens, np.minimum(position - (position > rank), ids.shape[-1] - 1)]
        top_ids[:, position] = np.where(position == rank, token_ids, other)
    return top_ids


def _normalised(
    target: Float[Tensor, "tokens 1"], rounded: Float[Tensor, "tokens others"]
) -> LogProbs:
    """Log-probabilities whose sum is one: the response token's, and what it leaves to the others.

    Where that is next to nothing, single precision cannot tell how much it is. So the others change
    by no more than they may have been rounded, and the remainder is shared by all.
    """
    shares = rounded.log_softmax(-1)  # among the others
    stored = rounded[:, :1] - shares[:, :1]  # what is left to them, rounded
    left = torch.log(-torch.expm1(target)).clamp(stored - STEP_NATS, stored + STEP_NATS)
    return torch.cat([target, shares + left], dim=-1) - torch.logaddexp(target, left)


@dataclass(frozen=True)
class Sampled:
    """Tokens sampled from the teacher with their counts, the response token, and fillers."""

    metadata: CacheMetadata
    work: ModelCounter = field(default_factory=ModelCounter)  # none

    def decode(self, table: pa.Table, order: VocabularyOrder | None) -> Rows:
        """Ids and counts, padded to the number of draws with -1 and 0."""
        assert order is not None
        assert self.metadata.draws is not None
        lengths = table["sampled_positions"].combine_chunks().value_lengths().to_numpy()
        shape = (len(lengths), min(self.metadata.draws, self.metadata.vocabulary))
        taken = np.arange(shape[1]) < lengths[:, None]
        keys = np.full(shape, len(order) << 16)  # behind those of all tokens
        positions = _values(table, "sampled_positions").astype(np.int64)
        keys[taken] = positions << 16 | _values(table, "counts")
        keys.sort(axis=-1)
        return {
            "token_ids": _values(table, "token_id"),
            "ids": np.append(order, -1)[keys >> 16].astype(np.int32),
            "counts": (keys & 0xFFFF).astype(np.int16),
            "target": _values(table, "log_prob"),
        }

    def distributions(self, rows: Rows, batch: Batch) -> TeacherSignal:
        """The signal of `pipeline.distributions.sampled_targets`.

        The response token has the share of the draws that it got, often none: only so are the
        shares on average the teacher's probabilities.
        """
        assert self.metadata.draws is not None
        device = batch.next_ids.device
        ids, counts = _ids(rows["ids"], device), _numbers(rows["counts"], device)
        draws, size = self.metadata.draws, self.metadata.vocabulary
        return signal_from_counts(ids, counts, batch.next_ids, draws, size)


@dataclass(frozen=True)
class Hidden:
    """The last hidden state, and the teacher's head that makes a dense distribution of it."""

    metadata: CacheMetadata
    head: LMHead
    work: ModelCounter = field(default_factory=ModelCounter)  # of the head

    def decode(self, table: pa.Table, _order: VocabularyOrder | None) -> Rows:
        """The states in half precision."""
        return {
            "token_ids": _values(table, "token_id"),
            "states": _values(table, "hidden_state"),
            "target": _values(table, "log_prob"),
            "top_ids": _values(table, "top_ids"),
        }

    def distributions(self, rows: Rows, batch: Batch) -> "HiddenDistributions":
        """Dense distributions, from the same product that the live teacher ends with."""
        states = to_device(torch.from_numpy(rows["states"]), batch.next_ids.device)
        return HiddenDistributions(self, states, batch)


@dataclass(frozen=True)
class HiddenDistributions:
    """The hidden states of a batch; logits exist for a part of them at a time."""

    tier: Hidden
    states: Float[Tensor, "tokens width"]
    batch: Batch

    @torch.no_grad()
    def chunk(self, rows: slice) -> TeacherSignal:
        """The distribution at each of these tokens."""
        states, head, work = self.states[rows], self.tier.head, self.tier.work
        with autocast(states.device, self.tier.metadata.precision):
            logits = head.on(states.device)(states.float())
        work.scored_tokens += len(states)
        work.flops = (work.flops or 0) + 2 * len(states) * head.linear.weight.numel()
        return replace(dense(logits, self.batch.next_ids[rows]), layers=states.float()[:, None])


Tier = TopK | Sampled | Hidden
