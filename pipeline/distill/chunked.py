"""A loss over hidden states whose logits exist for some of the tokens at a time.

Logits are the largest tensors of a step: tokens x vocabulary, several times over. The loss is a sum
over tokens, so its gradient is the sum of the gradients of parts: each part goes from hidden states
through head and loss and back at once, and only the gradient of its hidden states is kept for the
body. Nothing is approximated, and nothing is computed twice.

Parts are of whole texts. A loss may look at all tokens of a text, and a step may be cut between any
two texts (law 5), so that no loss can tell.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.texts import Batch

Hidden = Float[Tensor, "tokens width"]

# in a part, by kind of device; each part adds once to the gradient of the whole head, which a GPU
# feels sooner than a CPU
LOGITS = {"cpu": 2**25, "cuda": 2**26}


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
