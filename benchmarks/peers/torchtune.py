"""torchtune: the losses of its recipe knowledge_distillation_single_device, which shifts labels."""

from torch import Tensor

from benchmarks.peers import Peer, file_of, flat

losses = file_of("torchtune", "modules/loss/kd_losses.py")


def symmetric_kl(
    student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor, *, weight: float = 0.5
) -> Tensor:
    """`SymmetricKLLoss`; its weight is that of the forward KL."""
    return flat(losses.SymmetricKLLoss(sym_kd_ratio=weight))(student, teacher, labels, mask)


LOSSES = [
    Peer("torchtune ForwardKLLoss", flat(losses.ForwardKLLoss()), "forward_kl"),
    Peer("torchtune ReverseKLLoss", flat(losses.ReverseKLLoss()), "reverse_kl"),
    Peer("torchtune SymmetricKLLoss", symmetric_kl, "symmetric_kl"),
]
