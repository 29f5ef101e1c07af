"""Asking the teacher: its body over micro-batches, its head over a chunk of tokens at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.models.language_model import autocast, counted_lm_head, response_hidden
from pipeline.runtime.transfer import to_device
from pipeline.settings.teacher import CacheJob
from pipeline.teacher_cache import reduce, reduce_on_cpu
from pipeline.teacher_cache.reduce import Chunk, Kept

# logits that are there at once: on a GPU few launches, on a CPU what its caches hold, but enough
# rows for a matrix product, which lays the whole head out anew each time
CUDA_LOGITS, CPU_LOGITS = 1 << 27, 1 << 20
LEAST_ROWS = 16


@dataclass(frozen=True)
class Captured:
    """What is kept of a micro-batch, on its way to the host."""

    texts: Sequence[Text]
    parts: Sequence[Kept]  # of its tokens, a chunk each
    arrived: torch.cuda.Event | None  # until then the parts are not to be read

    def wait(self) -> None:
        """Returns when the parts may be read."""
        if self.arrived is not None:
            self.arrived.synchronize()


@dataclass(frozen=True)
class Capture:
    """A teacher, and what is asked of it."""

    model: PreTrainedModel
    settings: CacheJob
    budget: int  # positions in a micro-batch: of the machine

    @torch.no_grad()
    def of(self, texts: Sequence[Text]) -> Iterator[Captured]:
        """What is kept of the texts, in an order of their own."""
        device = self.model.device
        for batch in micro_batches(texts, self.budget, device):
            with autocast(device, self.settings.precision):
                states = response_hidden(self.model, batch)
            yield self.of_states(batch, states)

    @torch.no_grad()
    def of_states(self, batch: Batch, states: Float[Tensor, "tokens width"]) -> Captured:
        """The same for a micro-batch that the teacher's body has read."""
        keep = self._keep()
        parts = [_to_host(keep(one)) for one in self._chunks(batch, states)]
        arrived = None
        if states.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        return Captured(batch.texts, parts, arrived)

    def _keep(self) -> Callable[[Chunk], Kept]:
        settings = self.settings
        match settings.kept:
            case "top_k":
                top = reduce.top if self.model.device.type == "cuda" else reduce_on_cpu.top
                return partial(reduce.likeliest, k=settings.k, top=top)
            case "sampled":
                assert settings.draws is not None
                return partial(reduce.drawn, draws=settings.draws)
            case "hidden":
                return reduce.states

    def _chunks(self, batch: Batch, states: Tensor) -> Iterator[Chunk]:
        at_once = CUDA_LOGITS if states.is_cuda else CPU_LOGITS
        size = max(LEAST_ROWS, at_once // self.model.config.vocab_size)
        uniforms = self._uniforms(batch)
        for first in range(0, len(states), size):
            own = slice(first, first + size)
            with autocast(states.device, self.settings.precision):
                logits = counted_lm_head(self.model, states[own])
            yield Chunk(
                states[own],
                logits,
                batch.next_ids[own],
                None if uniforms is None else uniforms[own],
            )

    def _uniforms(self, batch: Batch) -> Tensor | None:
        draws, seed = self.settings.draws, self.settings.seed
        if draws is None:
            return None
        numbers = [reduce.uniform_numbers(text, draws, seed) for text in batch.texts]
        return to_device(torch.cat(numbers), batch.next_ids.device)


def _to_host(parts: Kept) -> Kept:
    return {name: _copied(values) for name, values in parts.items()}


def _copied(values: Tensor) -> Tensor:
    """On the host, or on the way there: the GPU goes on meanwhile."""
    if not values.is_cuda:
        return values
    target = torch.empty_like(values, device="cpu", pin_memory=True)
    return target.copy_(values, non_blocking=True)
