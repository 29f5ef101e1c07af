"""How the tokens of a text relate to each other in each model, which needs no projector.

W. Wang, H. Bao, S. Huang, L. Dong, F. Wei, 2021. MiniLMv2: Multi-Head Self-Attention Relation
Distillation for Compressing Pretrained Transformers. arXiv:2012.15828, known from its abstract:
relations are scaled dot products between queries, between keys and between values of one layer,
split into as many relation heads in either model. With A the softmax over the tokens of a text of
x xᵀ / sqrt(units of a head), the loss of a token is KL(A_teacher ‖ A_student) of its row, a mean
over heads.

Ours are the vectors: hidden states, one relation for each pair of layers, where theirs are queries,
keys and values. A text has its response tokens alone, and each sees those behind it, too. Heads are
of nearly equal size where they don't divide a width, and never more than its units.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import PerToken, TokenContext
from pipeline.distributions.per_sequence import from_grid, to_grid
from pipeline.feature_losses import BothModels, Layers, Sizes, no_projectors
from pipeline.methods.ranges import Count, LayerMap, NonNegative, Positive


@dataclass(frozen=True)
class Loss:
    """w · mean over heads of KL(A_t ‖ A_s), A = softmax over a text of h hᵀ / sqrt(units)."""

    feature_weight: NonNegative = 1.0  # w
    layers: LayerMap = "last"
    projector_rate: Positive = 1e-3  # of no projector: relations compare different widths
    relation_heads: Count = 16

    projectors = staticmethod(no_projectors)

    def multiplications(self, sizes: Sizes, tokens: int) -> int:
        """Those of h hᵀ, forward and twice backward, and of the teacher's, without gradient."""
        heads = self.heads(sizes.student, sizes.teacher)
        student, teacher = (math.ceil(width / heads) for width in (sizes.student, sizes.teacher))
        return sizes.pairs * heads * tokens**2 * (3 * student + teacher)

    def heads(self, student: int, teacher: int) -> int:
        """The relation heads between two widths."""
        return min(self.relation_heads, student, teacher)

    def __call__(self, models: BothModels) -> PerToken:
        sides = models.student.layers, models.teacher.layers
        heads = self.heads(*(side.shape[-1] for side in sides))
        q, p = (relations(side, heads, models.tokens) for side in sides)
        return kl(p, q).unflatten(0, (len(sides[0]), -1)).mean(1)


def relations(layers: Layers, heads: int, tokens: TokenContext) -> Float[Tensor, "rows longest"]:
    """Log-probabilities of A: those of each token, layer and head over the tokens of its text."""
    grid = to_grid(split_into_heads(layers, heads), tokens).movedim(1, -2)
    products = grid @ grid.mT / math.sqrt(layers.shape[-1] / heads)
    inside = tokens.offsets < tokens.lengths[:, None]
    related = products.masked_fill(~inside[:, None, None, None, :], -torch.inf).log_softmax(-1)
    return from_grid(related.movedim(-2, 1), tokens).flatten(0, -2)


def split_into_heads(layers: Layers, heads: int) -> Float[Tensor, "tokens layers heads units"]:
    """The units of each head; zeros fill up the smaller ones, which no product notices."""
    parts = layers.tensor_split(heads, dim=-1)
    longest = parts[0].shape[-1]
    return torch.stack([pad(part, (0, longest - part.shape[-1])) for part in parts], dim=-2)
