"""Squared distance between hidden states, in units of the teacher's squared length.

B. Minixhofer, I. Vulić, E. M. Ponti, 2025. Universal Cross-Tokenizer Distillation via Approximate
Likelihood Matching. arXiv:2503.20083; the loss on latents in the code of bminixhofer/tokenkit,
which divides by the mean square of the teacher's whole tensor. Ours divides by that of the token,
so that how a step is cut into micro-batches changes nothing.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import PerToken
from pipeline.feature_losses import BothModels, projector_of_each_pair, work_of_each_pair
from pipeline.methods.ranges import LayerMap, NonNegative, Positive


@dataclass(frozen=True)
class Loss:
    """w · |W h_s - h_t|² / |h_t|², h a hidden state of each."""

    feature_weight: NonNegative = 1.0  # w
    layers: LayerMap = "last"
    projector_rate: Positive = 1e-3

    projectors = staticmethod(projector_of_each_pair)
    multiplications = staticmethod(work_of_each_pair)

    def __call__(self, models: BothModels) -> PerToken:
        difference = models.projected - models.teacher.layers
        distance = difference.square().sum(-1) / models.teacher.layers.square().sum(-1)
        return distance.mean(dim=1)
