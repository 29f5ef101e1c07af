"""ms-swift: the loss of its GKDTrainer, which rolls the labels and divides by those that count."""

import torch
from torch import Tensor

from benchmarks.peers import Peer, file_of

gkd_loss = file_of("swift", "rlhf_trainers/gkd_loss.py")


def gkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    _mask: Tensor,
    *,
    weight: float = 0.5,
    temperature: float = 1.0,
) -> Tensor:
    """`gkd_loss` as `GKDTrainer._compute_jsd_loss` calls it; the teacher is without gradient."""
    shifted = torch.roll(labels, shifts=-1, dims=1)
    output = gkd_loss.TeacherOutput(full_logits=teacher.detach(), labels=shifted)
    total, count = gkd_loss.gkd_loss(student, output, shifted, weight, temperature)
    return total / count if count else total * 0


LOSSES = [Peer("ms-swift GKDTrainer", gkd, "jsd")]
