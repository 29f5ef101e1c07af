"""Models that write texts side by side: begin some, write on, give back those that have ended."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.generation import llama_forward, transformers_forward
from pipeline.generation.cuda_graph import VARIANTS, Bf16Weights, capture_cuda_graph
from pipeline.generation.sampling import SpeculativeSampler, TokenSampler
from pipeline.generation.slots import Prompt, Response, Slots
from pipeline.generation.steps import Decoder, advance, ahead
from pipeline.models.language_model import end_ids

LIKE = 0.75  # prompts are read together where the shortest has this share of the longest's tokens
READ_AT_ONCE = 16_384  # tokens of prompts, on a GPU
IN_CACHE = 2**17  # numbers of hidden states that a CPU reads at once, for its caches to hold
GRAIN = 64  # lengths on a GPU are multiples of it, as some kernels want
POLL = 8  # steps of a GPU between two looks at which texts have ended


def supports_ragged_batches(model: PreTrainedModel) -> bool:
    """Whether the model can read texts that are not of one age."""
    return llama_forward.is_supported(model) or transformers_forward.is_supported(model)


class GenerationEngine:
    """Slots for texts of up to `length` tokens, and the models that read them."""

    def __init__(
        self,
        models: Sequence[PreTrainedModel],
        choose: TokenSampler | SpeculativeSampler,
        *,
        count: int,
        length: int,
        time: int,
    ):
        self.choose, self.device = choose, models[0].device
        self.end_ids = end_ids(models[0])
        width = max(one.config.hidden_size for one in models)
        self.read_at_once = READ_AT_ONCE if self.on_gpu else IN_CACHE // width  # tokens of prompts
        self.length = length + GRAIN * (ahead(choose) > 1)  # guesses may go beyond the end
        self.slots = Slots.empty(count, time, self.device)
        self.halved = [Bf16Weights(one) for one in models] if self.on_gpu else []
        self.readers = [self._reader(one) for one in [one.model for one in self.halved] or models]
        # not self._step where that fails: a decoder that holds itself outlives its last user
        self.replay = capture_cuda_graph(self._step, self._compile) if self.on_gpu else None

    @property
    def on_gpu(self) -> bool:
        """Whether the step is one that a GPU repeats unseen."""
        return self.device.type == "cuda"

    def begin(self, rows: Sequence[int], asked: Sequence[Prompt]) -> None:
        """Puts texts into free slots, the longest prompt first."""
        where = torch.tensor(rows, device=self.device)
        self.slots.begin(where, asked)
        starts = [one.prompt_ids[:-1] for one in asked]  # the last token is read in writing
        for group in length_buckets([len(one) for one in starts], LIKE, self.read_at_once):
            if len(starts[group.start]):
                ids = _right_padded(starts[group.start : group.stop], self.device)
                for reader in self.readers:
                    reader.begin(where[group.start : group.stop], ids)

    def advance(self) -> list[bool]:
        """Writes on; whether each slot is still writing."""
        for _ in range(POLL if self.on_gpu else 1):
            (self.replay or self._step)()
        return self.slots.writing.tolist()

    def responses(self, rows: Sequence[int]) -> list[Response]:
        """What was written in some slots."""
        return self.slots.responses(torch.tensor(rows, device=self.device))

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these slots alone. Not for a captured step, whose storage is fixed."""
        where = torch.tensor(rows, device=self.device)
        self.slots = self.slots.kept(where)
        for reader in self.readers:
            reader.keep(where)

    def refresh(self) -> None:
        """Ready for other texts, with what the models have learnt since."""
        self.slots.writing.zero_()
        for one in self.halved:
            one.refresh()

    def _reader(self, model: PreTrainedModel) -> Decoder:
        family = (
            llama_forward.LlamaDecoder
            if llama_forward.is_supported(model)
            else transformers_forward.TransformersDecoder
        )
        dtype = torch.bfloat16 if self.on_gpu else model.dtype
        return family(model, self.slots.count, self.length, dtype)

    def _compile(self, wanted: bool) -> None:
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, VARIANTS)
        for one in self.readers:
            if isinstance(one, llama_forward.LlamaDecoder):
                one.next_block = (
                    torch.compile(llama_forward.decoder_layer)
                    if wanted
                    else llama_forward.decoder_layer
                )

    def _step(self) -> None:
        seen, slots = self.length, self.slots
        if not self.on_gpu:
            seen = int((slots.read * slots.writing).max()) + ahead(self.choose)
        advance(self.readers, self.choose, slots, seen, self.end_ids)


def length_buckets(lengths: Sequence[int], share: float, budget: float) -> Iterator[range]:
    """Ranges of descending lengths: each at least a share of its first, and padded in a budget."""
    first = 0
    for at, length in enumerate(lengths):
        padded = (at + 1 - first) * lengths[first]
        if at > first and (length < share * lengths[first] or padded > budget):
            yield range(first, at)
            first = at
    if lengths:
        yield range(first, len(lengths))


def _right_padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> Int[Tensor, "batch time"]:
    ids = np.zeros((len(prompts), len(prompts[0])), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = prompt
    return torch.from_numpy(ids).to(device)
