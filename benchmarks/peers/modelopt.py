"""NVIDIA ModelOpt: the loss of its KDTrainer for Hugging Face models."""

from types import SimpleNamespace

from modelopt.torch.distill.losses import LogitsDistillationLoss
from modelopt.torch.distill.plugins.huggingface import KDTrainer
from torch import Tensor

from benchmarks.peers import Peer


def kd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    _mask: Tensor,
    *,
    temperature: float = 1.0,
    step_tokens: int | None = None,
) -> Tensor:
    """`KDTrainer._standard_kd_loss`, called as transformers' Trainer calls a loss."""
    trainer = SimpleNamespace(
        _kd_criterion=LogitsDistillationLoss(temperature=temperature, reduction="none"),
        _last_teacher_outputs=SimpleNamespace(logits=teacher),
    )
    outputs = SimpleNamespace(logits=student)
    return KDTrainer._standard_kd_loss(trainer, outputs, labels, num_items_in_batch=step_tokens)


LOSSES = [Peer("ModelOpt KDTrainer", kd, "forward_kl")]
