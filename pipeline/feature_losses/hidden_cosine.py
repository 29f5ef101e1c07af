"""One minus the cosine between hidden states, the student's in the teacher's width.

NVIDIA ModelOpt compares the outputs of norms by their cosine by default, arcee-ai/DistillKit has it
as `hs_cosine`: both were read in their code. Length plays no part, so dimensions in which a model
is large throughout weigh less than in a squared error of another scale.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import cosine_similarity

from pipeline.distributions.log_probs import PerToken, TokenContext
from pipeline.feature_losses import InTeacherWidth, ModelView, projected
from pipeline.methods.ranges import LayerMap, NonNegative, Positive


@dataclass(frozen=True)
class Loss(InTeacherWidth):
    """w · (1 - cos(W h_s, h_t)), h a hidden state of each."""

    feature_weight: NonNegative = 1.0  # w
    layers: LayerMap = "last"
    projector_rate: Positive = 1e-3

    def __call__(
        self,
        projectors: torch.nn.ModuleDict,
        student: ModelView,
        teacher: ModelView,
        tokens: TokenContext,
    ) -> PerToken:
        cosine = cosine_similarity(projected(projectors, student.layers), teacher.layers, dim=-1)
        return 1 - cosine.mean(dim=1)
