"""The teacher's pass: its body over micro-batches, its head over a chunk of tokens at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.models.language_model import autocast, counted_lm_head, response_hidden
from pipeline.runtime.transfer import arrival, to_device, to_host
from pipeline.settings.teacher import CacheJob
from pipeline.teacher_cache import reduce
from pipeline.teacher_cache.reduce import Chunk, ReducedLogits

# logits that are there at once: on a GPU few launches, on a CPU what its caches hold, but enough
# rows for a matrix product, which lays out the whole head each time
CUDA_LOGITS, CPU_LOGITS = 1 << 27, 1 << 20
LEAST_ROWS = 16


@dataclass(frozen=True)
class CapturedBatch:
    """The reduced logits of a micro-batch, on their way to the host."""

    texts: Sequence[Text]
    chunks: Sequence[ReducedLogits]  # of consecutive tokens
    arrived: torch.cuda.Event | None  # until then the chunks are not to be read

    def wait(self) -> None:
        """Returns when the chunks may be read."""
        if self.arrived is not None:
            self.arrived.synchronize()


@dataclass(frozen=True)
class Capture:
    """A teacher, and what is to be stored of its distributions."""

    model: PreTrainedModel
    settings: CacheJob
    max_tokens: int  # in a micro-batch, prompts and padding counted: of the machine

    @torch.no_grad()
    def batches(self, texts: Sequence[Text]) -> Iterator[CapturedBatch]:
        """The texts in micro-batches of similar lengths, with their reduced logits."""
        device = self.model.device
        for batch in micro_batches(texts, self.max_tokens, device):
            with autocast(device, self.settings.precision):
                states = response_hidden(self.model, batch)
            yield self.reduce(batch, states)

    @torch.no_grad()
    def reduce(self, batch: Batch, states: Float[Tensor, "tokens width"]) -> CapturedBatch:
        """A micro-batch whose last hidden states are given."""
        reduction = self._reduction()
        chunks = [
            {name: to_host(values) for name, values in reduction(chunk).items()}
            for chunk in self._chunks(batch, states)
        ]
        return CapturedBatch(batch.texts, chunks, arrival(states))

    def _reduction(self) -> Callable[[Chunk], ReducedLogits]:
        settings = self.settings
        match settings.written_tier:
            case "top_k":
                on_gpu = self.model.device.type == "cuda"
                top_k = reduce.top_k_on_gpu if on_gpu else reduce.top_k_on_cpu
                return partial(reduce.top_k_and_rest, k=settings.k, top_k=top_k)
            case "sampled":
                assert settings.draws is not None
                return partial(reduce.sample_targets, draws=settings.draws)
            case "hidden":
                return reduce.hidden_states

    def _chunks(self, batch: Batch, states: Tensor) -> Iterator[Chunk]:
        at_once = CUDA_LOGITS if states.is_cuda else CPU_LOGITS
        size = max(LEAST_ROWS, at_once // self.model.config.vocab_size)
        uniforms = self._uniforms(batch)
        for first in range(0, len(states), size):
            rows = slice(first, first + size)
            with autocast(states.device, self.settings.precision):
                logits = counted_lm_head(self.model, states[rows])
            yield Chunk(
                states[rows],
                logits,
                batch.next_ids[rows],
                None if uniforms is None else uniforms[rows],
            )

    def _uniforms(self, batch: Batch) -> Tensor | None:
        draws, seed = self.settings.draws, self.settings.seed
        if draws is None:
            return None
        numbers = reduce.uniforms_of_cache(batch.texts, draws, seed)
        return to_device(numbers, batch.next_ids.device)
