"""One minus the cosine between hidden states, the student's in the teacher's width.

NVIDIA ModelOpt compares the outputs of norms by their cosine by default, arcee-ai/DistillKit has it
as `hs_cosine`: both were read in their code. Length plays no part, so dimensions in which a model
is large throughout weigh less than in a squared error of another scale.
"""

from dataclasses import dataclass

from torch.nn.functional import cosine_similarity

from pipeline.distributions.log_probs import PerToken
from pipeline.feature_losses import BothModels, projector_of_each_pair, work_of_each_pair
from pipeline.methods.ranges import LayerMap, NonNegative, Positive


@dataclass(frozen=True)
class Loss:
    """w · (1 - cos(W h_s, h_t)), h a hidden state of each."""

    feature_weight: NonNegative = 1.0  # w
    layers: LayerMap = "last"
    projector_rate: Positive = 1e-3

    projectors = staticmethod(projector_of_each_pair)
    multiplications = staticmethod(work_of_each_pair)

    def __call__(self, models: BothModels) -> PerToken:
        cosine = cosine_similarity(models.projected, models.teacher.layers, dim=-1)
        return 1 - cosine.mean(dim=1)
