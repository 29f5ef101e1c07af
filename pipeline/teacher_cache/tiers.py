"""What is decoded of each kind of cache, and the signal that it gives."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Batch
from pipeline.distributions.log_probs import (
    LogProbs,
    Support,
    TeacherDistributions,
    TeacherSignal,
    dense,
)
from pipeline.distributions.sampled_targets import signal_from_counts
from pipeline.models.language_model import autocast
from pipeline.runtime.costs import ModelCounter
from pipeline.runtime.transfer import to_device
from pipeline.teacher_cache import packing
from pipeline.teacher_cache.format import COUNTS, Layout, Numbers, layout
from pipeline.teacher_cache.lm_head import Head
from pipeline.teacher_cache.metadata import Facts


@runtime_checkable
class Tier(Protocol):
    """How a kind of cache is read."""

    @property
    def work(self) -> ModelCounter:
        """Of the teacher's part that is run when tokens are read."""
        ...

    @property
    def layout(self) -> Layout:
        """Of its blocks."""
        ...

    def decode(self, stored: Numbers, order: packing.Order | None) -> Numbers:
        """A row for each token, in little memory, where the vocabulary has that order."""
        ...

    def distributions(self, rows: Numbers, batch: Batch) -> TeacherDistributions:
        """The teacher's distribution at the tokens of a batch, whose rows these are."""
        ...

    def likeliest(self, rows: Numbers, support: Support) -> Int[Tensor, "tokens ranked"] | None:
        """The ids of the teacher's likeliest tokens by rank, as far as they are known."""
        ...


def _narrow(ids: np.ndarray, facts: Facts) -> np.ndarray:
    return ids.astype(np.uint16) if facts.vocabulary <= 1 << 16 else ids


def _on(device: torch.device, values: np.ndarray) -> Tensor:
    return to_device(torch.from_numpy(values), device)


@dataclass(frozen=True)
class TopK:
    """The really next token, the likeliest others, and a bucket where that is not all.

    Log-probabilities are rounded, which leaves a row's sum some 1e-3 off one. It is made exact when
    read, so that a KL is never negative; the next token's log-probability was not rounded and stays
    as it is.
    """

    facts: Facts
    work: ModelCounter = field(default_factory=ModelCounter)  # none

    @cached_property
    def layout(self) -> Layout:
        """Of its blocks."""
        return layout(self.facts)

    def decode(self, stored: Numbers, order: packing.Order | None) -> Numbers:
        """Ids, log-probabilities in steps, and what belongs to the whole row."""
        assert order is not None
        return {
            "ids": _narrow(order[packing.from_gaps(stored["gaps"])], self.facts),
            "steps": stored["levels"].view(np.int16) + stored["floors"],
            "target": stored["target"][:, 0],
            "other": stored["other"][:, 0].astype(np.float32),
            "likeliest": stored["likeliest"],
        }

    def distributions(self, rows: Numbers, batch: Batch) -> TeacherSignal:
        """The next token stands first, the others by their places in the shard's vocabulary."""
        device = batch.next_ids.device
        others = _on(device, rows["ids"].astype(np.int32)).long()
        ids = torch.cat([batch.next_ids[:, None], others], dim=-1)
        rounded = packing.log_probs(_on(device, rows["steps"]).float())
        target = _on(device, rows["target"])[:, None]
        if ids.shape[-1] < self.facts.vocabulary:
            rounded = torch.cat([rounded, _on(device, rows["other"])[:, None]], dim=-1)
        log_probs = _adding_up(target, rounded)
        return TeacherSignal(log_probs, Support(target=torch.zeros_like(batch.next_ids), ids=ids))

    def likeliest(self, rows: Numbers, support: Support) -> Int[Tensor, "tokens ranked"]:
        """As they were captured: ranks are not read off the rounded log-probabilities."""
        assert support.ids is not None
        columns = _on(support.ids.device, rows["likeliest"].astype(np.int32)).long()
        return support.ids.gather(-1, columns)


def _adding_up(
    target: Float[Tensor, "tokens 1"], rounded: Float[Tensor, "tokens others"]
) -> LogProbs:
    """Log-probabilities whose sum is one: the next token's, and what it leaves to the others.

    Where that is next to nothing, single precision cannot tell how much it is. So the others change
    by no more than they may have been rounded, and the rest is shared by all.
    """
    shares = rounded.log_softmax(-1)  # among the others
    stored = rounded[:, :1] - shares[:, :1]  # what is left to them, rounded
    left = torch.log(-torch.expm1(target)).clamp(stored - packing.STEP, stored + packing.STEP)
    return torch.cat([target, shares + left], dim=-1) - torch.logaddexp(target, left)


@dataclass(frozen=True)
class Sampled:
    """What came up in some draws, the really next token, and fillers that never came up."""

    facts: Facts
    work: ModelCounter = field(default_factory=ModelCounter)  # none

    @cached_property
    def layout(self) -> Layout:
        """Of its blocks."""
        return layout(self.facts)

    def decode(self, stored: Numbers, order: packing.Order | None) -> Numbers:
        """Ids and counts, a place of each row for each draw; -1 and 0 where fewer came up."""
        assert order is not None
        assert self.facts.draws is not None
        distinct = stored[COUNTS]
        shape = (len(distinct), min(self.facts.draws, self.facts.vocabulary))
        taken = np.arange(shape[1]) < distinct
        gaps, ids, counts = np.zeros(shape, np.int32), np.full(shape, -1), np.zeros(shape, np.int16)
        gaps[taken] = stored["gaps"]
        ids[taken] = order[packing.from_gaps(gaps)[taken]]
        counts[taken] = stored["counts"]
        return {"ids": ids.astype(np.int32), "counts": counts, "target": stored["target"][:, 0]}

    def distributions(self, rows: Numbers, batch: Batch) -> TeacherSignal:
        """As `pipeline.distributions.sampled_targets` has it.

        The next token has the share of the draws that it got, often none: only so are the shares
        on average the teacher's probabilities.
        """
        assert self.facts.draws is not None
        device = batch.next_ids.device
        ids, counts = _on(device, rows["ids"]).long(), _on(device, rows["counts"]).float()
        size = self.facts.vocabulary
        return signal_from_counts(ids, counts, batch.next_ids, self.facts.draws, size)

    def likeliest(self, rows: Numbers, support: Support) -> None:
        """Draws don't tell."""


@dataclass(frozen=True)
class Hidden:
    """The last hidden state, and the teacher's head that makes it a dense distribution."""

    facts: Facts
    head: Head
    work: ModelCounter = field(default_factory=ModelCounter)  # of the head

    @cached_property
    def layout(self) -> Layout:
        """Of its blocks."""
        return layout(self.facts, self.head.linear.in_features)

    def decode(self, stored: Numbers, order: packing.Order | None) -> Numbers:
        """The states in half precision."""
        assert order is None  # no token ids are stored
        kept = {name: stored[name] for name in ("likeliest", "states")}
        return kept | {"target": stored["target"][:, 0]}

    def distributions(self, rows: Numbers, batch: Batch) -> "HiddenForecast":
        """Dense, from the same product that the live teacher ends with."""
        return HiddenForecast(self, _on(batch.next_ids.device, rows["states"]), batch)

    def likeliest(self, rows: Numbers, support: Support) -> Int[Tensor, "tokens ranked"]:
        """As they were captured: a rounded state may have others."""
        return _on(support.target.device, rows["likeliest"].astype(np.int64))


@dataclass(frozen=True)
class HiddenForecast:
    """Hidden states of a batch; of their logits a part exists at a time."""

    tier: Hidden
    states: Float[Tensor, "tokens width"]
    batch: Batch

    @torch.no_grad()
    def chunk(self, rows: slice) -> TeacherSignal:
        """The distribution at each of these tokens."""
        states, head, work = self.states[rows], self.tier.head, self.tier.work
        with autocast(states.device, self.tier.facts.precision):
            logits = head.on(states.device)(states.float())
        work.scored_tokens += len(states)
        work.flops = (work.flops or 0) + 2 * len(states) * head.linear.weight.numel()
        return dense(logits, self.batch.next_ids[rows])
