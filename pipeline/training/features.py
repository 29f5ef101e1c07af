"""The term on hidden states in a training run: projectors, the views of both models, the work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import Logits, PerToken, TeacherSignal, TokenContext
from pipeline.distributions.spans import Vocabularies, at_tokens
from pipeline.feature_losses import (
    BothModels,
    FeatureLoss,
    FitsHeads,
    Layers,
    ModelView,
    Sizes,
    build_feature_loss,
    inner_pairs,
)
from pipeline.models.flops import record_products
from pipeline.models.language_model import autocast
from pipeline.models.logits import logit_scaling
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.settings.distill import DistillSettings
from pipeline.settings.training import Precision
from pipeline.teacher_cache.lm_head import LMHead, of_weights
from pipeline.teacher_cache.reader import CachedTeacher
from pipeline.teacher_cache.tiers import Hidden
from pipeline.tokenizer_alignment.teacher import AlignedTeacher


@dataclass(frozen=True)
class FeatureTerm:
    """A loss on hidden states between a student and its teacher."""

    loss: FeatureLoss
    projectors: torch.nn.ModuleDict
    sizes: Sizes
    student: PreTrainedModel
    teacher: Teacher | None  # one that has hidden states
    precision: Precision
    inner_layers: Sequence[tuple[int, int]]  # of student and teacher, compared beside the last

    def __call__(
        self, layers: Layers, logits: Logits, teacher: TeacherSignal, tokens: TokenContext
    ) -> PerToken:
        """The weighted term at each token; between vocabularies where a span is one of each."""
        assert teacher.layers is not None
        # as they are now: of sharded models, heads are gathered for each pass
        student_head, teacher_head = head_of(self.student), head_of_teacher(self.teacher)
        if (spans := teacher.spans) is None:
            ours = self._view(layers, logits, student_head)
            theirs = self._view(teacher.layers, teacher.log_probs, teacher_head)
            return self._term(ours, theirs, tokens)
        rows, positions = spans.single_tokens
        if not len(positions):
            return layers.new_zeros(len(layers))
        ours = self._view(layers[positions], logits[positions], student_head)
        theirs = self._view(teacher.layers[rows], teacher.log_probs[rows], teacher_head)
        term = self._term(ours, theirs, at_tokens(tokens, positions, spans))
        return term.new_zeros(len(layers)).index_copy(0, positions, term)

    def _term(self, student: ModelView, teacher: ModelView, tokens: TokenContext) -> PerToken:
        models = BothModels(self.projectors, student, teacher, tokens)
        return self.loss.feature_weight * self.loss(models)

    def record_work(self, texts: Sequence[Text]) -> None:
        """Enters the matrix products of a step on texts into the count of the student's work."""
        counts = (self.loss.multiplications(self.sizes, text.target_count) for text in texts)
        record_products(self.student, sum(counts))

    def _view(self, layers: Layers, logits: Logits, head: LMHead) -> ModelView:
        """A model for the loss: hidden states in float32 at least, its head in the precision."""

        def to_logits(hidden: Float[Tensor, "tokens width"]) -> Logits:
            with autocast(hidden.device, self.precision):
                return head.on(hidden.device)(hidden)

        dtype = torch.promote_types(layers.dtype, torch.float32)
        return ModelView(layers.to(dtype), logits, to_logits)

    @property
    def weights(self) -> list[torch.nn.Parameter]:
        """The weights of the projectors."""
        return list(self.projectors.parameters())

    def parameter_group(self, student_rate: float) -> dict[str, Any]:
        """The projectors for the student's optimizer: their own rate, on its schedule."""
        ratio = self.loss.projector_rate / student_rate
        return {"params": self.weights, "weight_decay": 0.0, "rate_ratio": ratio}


def feature_term(
    settings: DistillSettings, student: PreTrainedModel, teacher: Teacher | None
) -> FeatureTerm | None:
    """The term of a method between two models; None for a method without one."""
    method = settings.method
    if method.features is None:
        return None
    vocabularies = None
    if isinstance(teacher, AlignedTeacher):
        teacher, vocabularies = teacher.teacher, teacher.alignment.vocabularies
    loss = build_feature_loss(method.features, method.feature_settings)
    student_head, teacher_head, inner = head_of(student), head_of_teacher(teacher), []
    if isinstance(teacher, LiveTeacher):
        depths = (model.config.num_hidden_layers for model in (student, teacher.model))
        inner = inner_pairs(loss.layers, *depths)
    sizes = Sizes(
        student=student_head.linear.in_features,
        teacher=teacher_head.linear.in_features,
        pairs=len(inner) + 1,
        vocabulary=student_head.linear.out_features,
        teacher_vocabulary=teacher_head.linear.out_features,
    )
    projectors = loss.projectors(sizes, torch.Generator().manual_seed(settings.seed))
    if isinstance(loss, FitsHeads):
        loss.fit_heads(projectors, *of_common_tokens(student_head, teacher_head, vocabularies))
    return FeatureTerm(
        loss,
        projectors.to(student.device),
        sizes,
        student,
        teacher,
        settings.training.precision,
        inner,
    )


def of_common_tokens(
    student: LMHead, teacher: LMHead, vocabularies: Vocabularies | None
) -> tuple[Float[Tensor, "width common"], Float[Tensor, "teacher_width common"]]:
    """The heads' weights of the tokens that both have, as logits are made of them."""
    ours, theirs = (_columns(head) for head in (student, teacher))
    if vocabularies is None:
        count = min(ours.shape[1], theirs.shape[1])
        return ours[:, :count], theirs[:, :count]
    shared = vocabularies.shared.cpu()
    return ours[:, shared[shared >= 0]], theirs[:, : len(shared)][:, shared >= 0]


def _columns(head: LMHead) -> Float[Tensor, "width vocabulary"]:
    """How much each unit of a hidden state adds to the logits."""
    scale = head.scaling.hidden * head.scaling.logits
    return scale * head.linear.weight.detach().cpu().float().T


def with_layers(teacher: Teacher | None, features: FeatureTerm | None) -> Teacher | None:
    """A live teacher that gives the layers inside which a term compares; others as they are."""
    if isinstance(teacher, AlignedTeacher):
        own = with_layers(teacher.teacher, features)
        assert own is not None
        return replace(teacher, teacher=own)
    if features is None or not isinstance(teacher, LiveTeacher):
        return teacher
    return replace(teacher, inner_layers=[layer for _, layer in features.inner_layers])


def head_of_teacher(teacher: Teacher | None) -> LMHead:
    """The head of a teacher that has hidden states. Raises ValueError for another."""
    if isinstance(teacher, LiveTeacher):
        return head_of(teacher.model)
    if isinstance(teacher, CachedTeacher) and isinstance(teacher.tier, Hidden):
        return teacher.tier.head
    raise ValueError(
        "a loss on hidden states needs its method's teacher = 'live', or "
        "teacher_cache.tier = 'hidden'"
    )


def head_of(model: PreTrainedModel) -> LMHead:
    """A model's own head, whose weights follow the model's and get no gradient through it."""
    head = model.get_output_embeddings()
    assert head is not None
    # not its state dict, for which a sharded model drops what it has gathered
    state = {name: weight.detach() for name, weight in head.named_parameters()}
    return of_weights(state, logit_scaling(model))
