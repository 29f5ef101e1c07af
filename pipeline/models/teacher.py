"""Teachers that run live during training; one that is read from disk is in `teacher_cache`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text, collate
from pipeline.data.privileged_prompts import PrivilegedPrompts
from pipeline.distributions.log_probs import (
    Logits,
    TeacherDistributions,
    TeacherSignal,
    dense,
    top_k,
)
from pipeline.distributions.ranking import RANKED, top_tokens
from pipeline.models.flops import count
from pipeline.models.language_model import Precision, autocast, counted_lm_head, response_layers
from pipeline.runtime.costs import ModelCounter


@runtime_checkable
class Teacher(Protocol):
    """A source of next-token distributions."""

    def signal(self, batch: Batch) -> TeacherSignal:
        """The distribution and the top tokens at each response token, without gradient."""
        ...

    def distributions(self, batch: Batch) -> TeacherDistributions:
        """The distributions alone, to be computed chunk by chunk."""
        ...

    def count(self) -> ModelCounter:
        """The teacher's work from now on, in an object that is updated in place."""
        ...


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher whose model runs on every batch; its signal is dense, or its top K."""

    model: PreTrainedModel
    precision: Precision = "auto"
    k: int | None = None
    inner_layers: Sequence[int] = ()  # counted from 1, whose hidden states a loss compares, too
    prompts: PrivilegedPrompts | None = None  # None: it reads what the student does

    def logits(self, batch: Batch) -> Logits:
        """The model's logits at each response token, without gradient."""
        return self.distributions(batch).logits(slice(None))

    def signal(self, batch: Batch) -> TeacherSignal:
        """The model's distribution and its top tokens at each response token."""
        logits = self.logits(batch)
        signal = self.signal_from_logits(logits, batch.next_ids)
        return replace(signal, top_ids=top_tokens(logits, RANKED))

    def signal_from_logits(self, logits: Logits, next_ids: Int[Tensor, " tokens"]) -> TeacherSignal:
        """The distribution of logits: dense, or their top K."""
        return dense(logits, next_ids) if self.k is None else top_k(logits, next_ids, self.k)

    def distributions(self, batch: Batch) -> "LiveDistributions":
        """The distributions on a batch; the body runs when a chunk is first asked for."""
        return LiveDistributions(self, self.prompts.batch(batch) if self.prompts else batch)

    def check_finite(self, texts: Sequence[Text], step: int) -> None:
        """Raises ValueError, naming the teacher, if its logits on a text are not finite."""
        for text in texts:
            if not self.logits(collate([text], self.model.device)).isfinite().all():
                raise ValueError(
                    f"the live teacher's logits are not finite at step {step + 1}, on "
                    f"{text.example_id}: the teacher is broken, not the student; train it again or "
                    "take another one"
                )

    def count(self) -> ModelCounter:
        """The work of the teacher's model from now on."""
        return count(self.model)


@dataclass(frozen=True)
class LiveDistributions:
    """A live teacher on a batch: one pass of its body, logits for one chunk at a time."""

    teacher: LiveTeacher
    batch: Batch

    @torch.no_grad()
    def chunk(self, rows: slice) -> TeacherSignal:
        """The distribution at each of these tokens."""
        signal = self.teacher.signal_from_logits(self.logits(rows), self.batch.next_ids[rows])
        return replace(signal, layers=self._layers[rows])

    @torch.no_grad()
    def logits(self, rows: slice) -> Logits:
        """The model's logits at each of these tokens."""
        with self._autocast():
            return counted_lm_head(self.teacher.model, self._layers[rows, -1])

    @cached_property
    def _layers(self) -> Float[Tensor, "tokens layers width"]:
        with self._autocast():
            return response_layers(self.teacher.model, self.batch, self.teacher.inner_layers)

    def _autocast(self) -> torch.autocast:
        return autocast(self.teacher.model.device, self.teacher.precision)
