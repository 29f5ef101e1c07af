"""Mean squared error between hidden states, the student's in the teacher's width.

X. Jiao, Y. Yin, L. Shang, et al., 2020. TinyBERT: Distilling BERT for Natural Language
Understanding. arXiv:1909.10351; its form for decoders as in the code of arcee-ai/DistillKit, where
projections have no bias. Theirs are saved with the student and averaged over a micro-batch; ours
are not saved, and the mean is over the tokens of the optimizer step.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import PerToken
from pipeline.feature_losses import BothModels, projector_of_each_pair, work_of_each_pair
from pipeline.methods.ranges import LayerMap, NonNegative, Positive


@dataclass(frozen=True)
class Loss:
    """w · mean over width of (W h_s - h_t)², h a hidden state of each."""

    feature_weight: NonNegative = 1.0  # w
    layers: LayerMap = "last"
    projector_rate: Positive = 1e-3

    projectors = staticmethod(projector_of_each_pair)
    multiplications = staticmethod(work_of_each_pair)

    def __call__(self, models: BothModels) -> PerToken:
        difference = models.projected - models.teacher.layers
        return difference.square().mean(dim=(1, 2))
