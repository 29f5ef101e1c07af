"""A loss over hidden states whose logits exist for some of the tokens at a time.

Logits are the largest tensors of a step: tokens x vocabulary, several times over. The loss is a sum
over tokens, so its gradient is the sum of the gradients of parts: each part goes from hidden states
through head and loss and back at once, and only the gradient of its hidden states is kept for the
body. Nothing is approximated, and nothing is computed twice.

Parts are of whole texts. A loss may look at all tokens of a text, and a step may be cut between any
two texts (law 5), so that no loss can tell.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, collate, texts_in
from pipeline.models.language_model import parameter_count

Hidden = Float[Tensor, "tokens width"]

# Each part casts the whole head once and adds once to its gradient, which a GPU feels sooner than a
# CPU; but 40 bytes a logit, beside a live teacher's, are 11 GB of the largest parts. They are taken
# where what is trained, at 16 bytes a parameter, leaves half of a large GPU free.
CPU_LOGITS, SMALL_GPU_LOGITS, LARGE_GPU_LOGITS = 2**25, 2**26, 2**28
LARGE_GPU_BYTES, ROOMY_BYTES = 60 * 10**9, 32


def max_logits(device: torch.device, parameters: int) -> int:
    """The logits of a part, where so many parameters are trained."""
    if device.type == "cpu":
        return CPU_LOGITS
    return max_logits_on_gpu(torch.cuda.get_device_properties(device).total_memory, parameters)


def max_logits_on_gpu(memory: int, parameters: int) -> int:
    """The logits of a part on a GPU of so many bytes."""
    is_roomy = memory >= max(LARGE_GPU_BYTES, ROOMY_BYTES * parameters)
    return LARGE_GPU_LOGITS if is_roomy else SMALL_GPU_LOGITS


def parts(batch: Batch, vocabulary: int, logits: int) -> list[slice]:
    """Ranges of tokens, each of whole texts with no more logits than that.

    A text that has more stands alone.
    """
    found, first, last = [], 0, 0
    for text in batch.texts:
        end = last + len(text.response_ids)
        if last > first and (end - first) * vocabulary > logits:
            found.append(slice(first, last))
            first = last
        last = end
    return [*found, slice(first, last)]


def split_by_logits(model: PreTrainedModel, batches: Sequence[Batch]) -> Iterator[Batch]:
    """The batches cut into parts that a model reads one by one, body and head: each is a batch.

    For what reads the same text with several sets of weights, heads included.
    """
    most = max_logits(model.device, parameter_count(model))
    for batch in batches:
        rows = parts(batch, model.config.vocab_size, most)
        if len(rows) == 1:
            yield batch
            continue
        for one in rows:
            yield collate(batch.texts[texts_in(batch, one)], batch.input_ids.device)


def descend(
    hidden: Hidden, rows: Sequence[slice], loss_of: Callable[[Hidden, slice], Float[Tensor, ""]]
) -> Float[Tensor, ""]:
    """The sum of the parts' losses; its gradient is added to the weights of head and body."""
    leaves, losses = [hidden[one].detach().requires_grad_() for one in rows], []
    for leaf, one in zip(leaves, rows, strict=True):
        loss = loss_of(leaf, one)
        loss.backward()
        losses.append(loss.detach())
    hidden.backward(torch.cat([leaf.grad for leaf in leaves]))
    return torch.stack(losses).sum()
