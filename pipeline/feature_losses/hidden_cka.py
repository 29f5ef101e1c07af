"""One minus the linear CKA between the hidden states of a text, which needs no projector.

S. Kornblith, M. Norouzi, H. Lee, G. Hinton, 2019. Similarity of Neural Network Representations
Revisited. arXiv:1905.00414, eq. 3 and 4, as a loss; from memory of the paper, details ours. With X
and Y the states of a text's response tokens, a row each and centred over the text,

    CKA = ‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) = ⟨X Xᵀ, Y Yᵀ⟩ / (‖X Xᵀ‖ ‖Y Yᵀ‖)    (Frobenius norms)

It is the same under any rotation and any scale of either side. A text of fewer tokens than the
width has a CKA that is high by chance, and one of a single token none: its loss is zero. The loss
of a text stands at each of its tokens.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pipeline.distributions.log_probs import PerToken, TokenContext
from pipeline.distributions.per_sequence import text_mean, to_grid
from pipeline.feature_losses import BothModels, Layers, Sizes, no_projectors
from pipeline.methods.ranges import LayerMap, NonNegative, Positive


@dataclass(frozen=True)
class Loss:
    """w · (1 - CKA of a hidden state of each over the tokens of a text)."""

    feature_weight: NonNegative = 1.0  # w
    layers: LayerMap = "last"
    projector_rate: Positive = 1e-3  # of no projector: CKA compares different widths

    projectors = staticmethod(no_projectors)

    def multiplications(self, sizes: Sizes, tokens: int) -> int:
        """Those of X Xᵀ, forward and twice backward, and of Y Yᵀ, which has no gradient."""
        return sizes.pairs * tokens**2 * (3 * sizes.student + sizes.teacher)

    def __call__(self, models: BothModels) -> PerToken:
        tokens = models.tokens
        ours, theirs = (_products(each.layers, tokens) for each in (models.student, models.teacher))
        shared = (ours * theirs).sum((-1, -2))
        squares = [each.square().sum((-1, -2)) for each in (ours, theirs)]

        is_defined = (squares[0] > 0) & (squares[1] > 0)  # of a text with two states that differ
        # a root each: the product of large states' squares is more than float32 holds
        lengths = [each.where(is_defined, 1).sqrt() for each in squares]
        cka = shared / (lengths[0] * lengths[1])
        apart = (1 - cka).where(is_defined, 0).mean(-1)
        return apart[tokens.sequence - tokens.sequence[:1]]


def _products(
    layers: Layers, tokens: TokenContext
) -> Float[Tensor, "texts layers longest longest"]:
    """X Xᵀ of each text."""
    centred = to_grid(layers - text_mean(layers, tokens), tokens).transpose(1, 2)
    return centred @ centred.mT
