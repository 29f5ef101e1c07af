"""Where a teacher's signal comes from: a live model, or one that was written to disk."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.costs import Work
from pipeline.language_model import Precision, autocast, response_hidden, scored
from pipeline.signal import Forecast, Signal, dense, top_k
from pipeline.texts import Batch
from pipeline.workload import count


@runtime_checkable
@runtime_checkable
class Teacher(Protocol):
    """Anything that says what should come next in a batch."""

    def signal(self, batch: Batch) -> Signal:
        """The distribution at each response token, without gradient."""
        ...

    def forecast(self, batch: Batch) -> Forecast:
        """The same distributions, for whoever wants them part by part."""
        ...

    def count(self) -> Work:
        """The work that it does from now on, in an object that grows."""
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

    def count(self) -> Work:
        """Of its model."""
        return count(self.model)


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
