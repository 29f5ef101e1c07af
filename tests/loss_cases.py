"""Log-probabilities and gradients of the cases that losses are tried on."""

import tiny
import torch
from torch import Tensor


def both(case: tiny.Case) -> tuple[Tensor, Tensor]:
    return case.teacher.log_softmax(-1), case.student.log_softmax(-1)


def gradient(losses: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(losses.sum(), logits, retain_graph=True)[0]
