"""Where a teacher's signal comes from: a live model, or one that was written to disk."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.costs import Work
from pipeline.language_model import Precision, autocast, response_logits
from pipeline.signal import Signal, dense, top_k
from pipeline.texts import Batch
from pipeline.workload import count


@runtime_checkable
class Teacher(Protocol):
    """Anything that says what should come next in a batch."""

    def signal(self, batch: Batch, temperature: float = 1.0) -> Signal:
        """The distribution at each response token, without gradient."""
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

    @torch.no_grad()
    def logits(self, batch: Batch) -> Float[Tensor, "tokens vocabulary"]:
        """The model's logits at each response token, without gradient."""
        with autocast(self.model.device, self.precision):
            return response_logits(self.model, batch).float()

    def signal(self, batch: Batch, temperature: float = 1.0) -> Signal:
        """The model's distribution at each response token."""
        logits = self.logits(batch)
        if temperature != 1:
            logits /= temperature
        if self.k is None:
            return dense(logits, batch.next_ids)
        return top_k(logits, batch.next_ids, self.k)

    def count(self) -> Work:
        """Of its model."""
        return count(self.model)
