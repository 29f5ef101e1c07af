"""Chunks of tokens whose logits exist at the same time.

Logits are the largest tensors of a step: tokens x vocabulary, several times over. A loss is a sum
over tokens, so its gradient is the sum of the gradients of chunks: each chunk goes from hidden
states through lm_head and loss and back at once, and only the gradient of its hidden states is kept
for the body. Nothing is approximated, and nothing is computed twice.

Chunks are of whole texts. A loss may look at all tokens of a text, and a step may be cut between
any two texts (law 5), so a loss can't tell.
"""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, collate, texts_in
from pipeline.models.language_model import parameter_count
from pipeline.settings.memory import CPU_LOGITS, max_logits_on_gpu


def max_logits(device: torch.device, parameters: int) -> int:
    """The most logits of a chunk, where that many parameters are trained."""
    if device.type == "cpu":
        return CPU_LOGITS
    return max_logits_on_gpu(torch.cuda.get_device_properties(device).total_memory, parameters)


def logit_chunks(batch: Batch, vocabulary: int, most: int) -> list[slice]:
    """Ranges of tokens, each of whole texts with at most `most` logits.

    A text that has more is a chunk of its own.
    """
    chunks, first, last = [], 0, 0
    for text in batch.texts:
        end = last + text.target_count
        if last > first and (end - first) * vocabulary > most:
            chunks.append(slice(first, last))
            first = last
        last = end
    return [*chunks, slice(first, last)]


def split_by_logits(model: PreTrainedModel, batches: Sequence[Batch]) -> Iterator[Batch]:
    """The batches, cut so that the logits of each exist at the same time.

    For code that reads a text with several sets of weights, lm_heads included.
    """
    most = max_logits(model.device, parameter_count(model))
    for batch in batches:
        chunks = logit_chunks(batch, model.config.vocab_size, most)
        if len(chunks) == 1:
            yield batch
            continue
        for rows in chunks:
            yield collate(batch.texts[texts_in(batch, rows)], batch.input_ids.device)
