"""Counts the FLOPs of models in a job, and the positions and tokens that they process.

FLOPs are those of the matrix products, two for each multiplication with its addition. For a dense
decoder that reads n positions and gives a distribution at r of them, forward:

    2 N n + 4 A n (n + 1) / 2 + 2 H r

N is the number of entries in the matrices below the head, without tables of embeddings, which are
looked up; H that of the head; A = layers x heads x head size. At position i the scores of
attention and their weighted sum take 2 A i each (J. Kaplan et al., 2020, arXiv:2001.08361, section
2.1, which has the mean over positions). Backward, a matrix product is done again for its input, and
once more for its weight where that learns: twice the forward pass for a model that learns whole.

Text that is written with a KV cache costs what reading it once costs. Norms, activations, softmax
and optimizer are left out, since they are small; so is what is of the machine: padding, and that a
CPU skips the last feed-forward network where nothing reads it (`pipeline.models.last_layer`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.runtime.costs import ModelCounter


@dataclass(frozen=True)
class MatmulSizes:
    """Sizes of a model's matrix products; `learning_` names the part that gets a gradient."""

    body: int  # N
    learning_body: int
    head: int  # H
    learning_head: int
    attention: int  # A

    def flops(self, positions: int, scored: int, *, learning: bool) -> int:
        """FLOPs of a text with `positions` positions and a distribution at `scored` of them."""
        pairs = positions * (positions + 1) // 2  # of a place and one that it attends to
        forward = 2 * self.body * positions + 4 * self.attention * pairs + 2 * self.head * scored
        if not learning:
            return forward
        weights = 2 * self.learning_body * positions + 2 * self.learning_head * scored
        return 2 * forward + 4 * self.attention * pairs + weights


@dataclass(frozen=True)
class CountedModel:
    """A model's running totals and its sizes; these are None where the formula doesn't hold."""

    counter: ModelCounter
    sizes: MatmulSizes | None
    learns: bool


_COUNTED: WeakKeyDictionary[PreTrainedModel, CountedModel] = WeakKeyDictionary()


def count(model: PreTrainedModel) -> ModelCounter:
    """Starts counting what `model` does, in the counter that is returned."""
    counter, sizes = ModelCounter(), matmul_sizes(model)
    if sizes is None:
        counter.flops = None
    learns = any(parameter.requires_grad for parameter in model.parameters())
    _COUNTED[model] = CountedModel(counter, sizes, learns)
    return counter


def matmul_sizes(model: PreTrainedModel) -> MatmulSizes | None:
    """A dense model's sizes. None for one with stacks of matrices, which experts are kept in."""
    tables = [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    output, config = model.get_output_embeddings(), model.config
    assert isinstance(output, torch.nn.Linear)
    head = output.weight
    apart = {id(table) for table in (*tables, head)}
    body = [
        parameter
        for parameter in model.parameters()
        if parameter.ndim > 1 and id(parameter) not in apart
    ]
    if any(matrix.ndim > 2 for matrix in body):
        return None
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return MatmulSizes(
        body=sum(matrix.numel() for matrix in body),
        learning_body=sum(matrix.numel() for matrix in body if matrix.requires_grad),
        head=head.numel(),
        learning_head=head.numel() * head.requires_grad,
        attention=config.num_hidden_layers * heads * size,
    )


def record_products(model: PreTrainedModel, multiplications: int) -> None:
    """Matrix products beside a model's own: of a training step, forward and backward."""
    counted = _COUNTED.get(model)
    if counted and counted.counter.flops is not None:
        counted.counter.flops += 2 * multiplications


def record_generation(
    models: Sequence[PreTrainedModel], texts: Sequence[Text], dropped: Sequence[int]
) -> None:
    """The generation of responses by the first model, with some tokens chosen by the last.

    Each text has `dropped` proposed tokens that all models have processed too. They
    are counted as if they stood behind the text: a little too high for the work of attention.
    """
    for model in models:
        for text, more in zip(texts, dropped, strict=True):
            record_pass(model, text.length + more, len(text.response_ids) + more)
    by_teacher = sum(text.teacher_tokens for text in texts)
    tokens = sum(len(text.response_ids) for text in texts)
    for model, written in ((models[0], tokens - by_teacher), (models[-1], by_teacher)):
        if model in _COUNTED:
            _COUNTED[model].counter.generated_tokens += written


def record_pass(model: PreTrainedModel, positions: int, scored: int) -> None:
    """A pass over one text; models that aren't counted are ignored."""
    counted = _COUNTED.get(model)
    if counted is None:
        return
    counter, learning = counted.counter, counted.learns and torch.is_grad_enabled()
    counter.positions += positions
    counter.trained_positions += positions * learning
    counter.scored_tokens += scored
    if counted.sizes and counter.flops is not None:
        counter.flops += counted.sizes.flops(positions, scored, learning=learning)
