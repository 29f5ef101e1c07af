"""TRL: GKDTrainer, DistillationTrainer, the self-distillation trainers and GOLD's ULD."""

from types import SimpleNamespace

import torch
from torch import Tensor
from trl.experimental.gkd.gkd_trainer import GKDTrainer
from trl.experimental.gold.gold_trainer import ULDLoss
from trl.experimental.sdft.loss_utils import compute_full_logit_self_distillation_loss
from trl.trainer.distillation_trainer import _chunked_divergence_loss

from benchmarks.peers import Fixed, Peer


def gkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    mask: Tensor,
    *,
    weight: float = 0.5,
    step_tokens: int | None = None,
) -> Tensor:
    """`GKDTrainer.compute_loss`, of models with known logits."""
    trainer = SimpleNamespace(
        teacher_model=Fixed(teacher),
        beta=weight,
        generalized_jsd_loss=GKDTrainer.generalized_jsd_loss,
    )
    inputs = {"input_ids": labels.clamp_min(0), "attention_mask": mask, "labels": labels}
    return GKDTrainer.compute_loss(trainer, Fixed(student), inputs, num_items_in_batch=step_tokens)


def distillation(
    student: Tensor,
    teacher: Tensor,
    _labels: Tensor,
    mask: Tensor,
    *,
    weight: float = 0.5,
    temperature: float = 1.0,
    step_tokens: int | None = None,
) -> Tensor:
    """The loss of `DistillationTrainer`, the head being an identity: hidden states are logits."""
    head = torch.eye(student.shape[-1], dtype=student.dtype)
    loss, _, _ = _chunked_divergence_loss(
        student[:, :-1],
        teacher[:, :-1],
        head,
        head,
        mask[:, 1:],
        beta=weight,
        num_items_in_batch=step_tokens,
        temperature=temperature,
    )
    return loss


def self_distillation(
    student: Tensor, teacher: Tensor, _labels: Tensor, _mask: Tensor, *, weight: float = 0.5
) -> Tensor:
    """The loss of each token in SDFT and SDPO, on all logits; the teacher is without gradient."""
    return compute_full_logit_self_distillation_loss(
        student[:, :-1], teacher.detach()[:, :-1], distillation_alpha=weight
    )


def uld(strategy: str) -> object:
    """GOLD's universal logit distillation, position by position, without its cross entropy."""

    def loss(student: Tensor, teacher: Tensor, labels: Tensor, _mask: Tensor) -> Tensor:
        config = SimpleNamespace(
            uld_crossentropy_weight=0.0,
            uld_distillation_weight=1.0,
            uld_student_temperature=1.0,
            uld_teacher_temperature=1.0,
            uld_skip_student_eos=False,
            uld_skip_teacher_eos=False,
            use_extended_uld=False,
            uld_token_merge_strategy=strategy,
        )
        ids = labels.clamp_min(0)
        return ULDLoss(config)(student, teacher.detach(), labels, labels, ids, ids)

    return loss


LOSSES = [
    Peer("TRL GKDTrainer", gkd, "jsd"),
    Peer("TRL DistillationTrainer", distillation, "jsd"),
    Peer("TRL SDFT, SDPO", self_distillation, "jsd"),
    Peer("TRL GOLD ULD, observed (default)", uld("observed"), "uld"),
    Peer("TRL GOLD ULD, bayesian", uld("bayesian"), "uld"),
]
