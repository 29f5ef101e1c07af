"""Where a teacher's signal comes from: a live model, or one that was written to disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text, collate
from pipeline.distributions.log_probs import TeacherDistributions, TeacherSignal, dense, top_k
from pipeline.distributions.ranking import RANKED, likeliest
from pipeline.models.flops import count
from pipeline.models.language_model import Precision, autocast, counted_lm_head, response_hidden
from pipeline.runtime.costs import ModelCounter


@runtime_checkable
class Teacher(Protocol):
    """Anything that says what should come next in a batch."""

    def signal(self, batch: Batch) -> TeacherSignal:
        """The distribution and the likeliest tokens at each response token, without gradient."""
        ...

    def forecast(self, batch: Batch) -> TeacherDistributions:
        """The distributions alone, for whoever wants them part by part."""
        ...

    def count(self) -> ModelCounter:
        """Starts counting what it does, in the counter that is returned."""
        ...


@dataclass(frozen=True)
class LiveTeacher:
    """A model that is asked at every batch: dense, or on its top k."""

    model: PreTrainedModel
    precision: Precision = "auto"
    k: int | None = None

    def logits(self, batch: Batch) -> Float[Tensor, "tokens vocabulary"]:
        """The model's logits at each response token, without gradient."""
        return LiveDistributions(self, batch).logits(slice(None))

    def signal(self, batch: Batch) -> TeacherSignal:
        """The model's distribution and its likeliest tokens at each response token."""
        logits = self.logits(batch)
        return replace(self.of(logits, batch.next_ids), likeliest=likeliest(logits, RANKED))

    def of(
        self, logits: Float[Tensor, "tokens vocabulary"], next_ids: Int[Tensor, " tokens"]
    ) -> TeacherSignal:
        """The distribution that logits are of: dense, or on their top k."""
        return dense(logits, next_ids) if self.k is None else top_k(logits, next_ids, self.k)

    def forecast(self, batch: Batch) -> "LiveDistributions":
        """The same; the model reads the batch when it is first asked."""
        return LiveDistributions(self, batch)

    def check(self, texts: Sequence[Text], step: int) -> None:
        """Raises ValueError, naming the teacher, where it gives a text no numbers."""
        for text in texts:
            if not self.logits(collate([text], self.model.device)).isfinite().all():
                raise ValueError(
                    f"the live teacher's log-probabilities are not numbers at step {step + 1}, on "
                    f"{text.example_id}: it is broken, not the student; train it anew or take "
                    "another, or lower the rate at which it learns if it does"
                )

    def count(self) -> ModelCounter:
        """Starts counting what its model does."""
        return count(self.model)


@dataclass(frozen=True)
class LiveDistributions:
    """A live teacher over a batch, read once; of its logits a part exists at a time."""

    teacher: LiveTeacher
    batch: Batch

    def part(self, rows: slice) -> TeacherSignal:
        """The distribution at each of these tokens."""
        return self.teacher.of(self.logits(rows), self.batch.next_ids[rows])

    @torch.no_grad()
    def logits(self, rows: slice) -> Float[Tensor, "tokens vocabulary"]:
        """The model's logits at each of these tokens."""
        with self._precision():
            return counted_lm_head(self.teacher.model, self._hidden[rows])

    @cached_property
    def _hidden(self) -> Float[Tensor, "tokens width"]:
        with self._precision():
            return response_hidden(self.teacher.model, self.batch)

    def _precision(self) -> torch.autocast:
        return autocast(self.teacher.model.device, self.teacher.precision)
