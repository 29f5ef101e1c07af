"""Liger-kernel: the chunked JSD in PyTorch; its Triton kernels need a GPU and are left out."""

import torch
from liger_kernel.chunked_loss.jsd_loss import LigerFusedLinearJSDLoss
from torch import Tensor

from benchmarks.peers import Peer


def chunked_jsd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    _mask: Tensor,
    *,
    weight: float = 0.5,
    temperature: float = 1.0,
) -> Tensor:
    """`LigerFusedLinearJSDLoss` without a hard loss, the head being an identity."""
    loss = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0,
        weight_soft_loss=1.0,
        beta=weight,
        temperature=temperature,
        compiled=False,
        chunk_size=4,
    )
    head = torch.eye(student.shape[-1], dtype=student.dtype)
    student, teacher = (each[:, :-1].flatten(0, 1) for each in (student, teacher))
    return loss(student, head, teacher, head, labels[:, 1:].flatten())


LOSSES = [Peer("Liger chunked JSD", chunked_jsd, "jsd")]
