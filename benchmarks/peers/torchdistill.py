"""torchdistill: KDLoss, made for the classes of images; the caller masks."""

from torch import Tensor
from torchdistill.losses.mid_level import KDLoss

from benchmarks.peers import Peer


def kd(
    student: Tensor, teacher: Tensor, _labels: Tensor, _mask: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """`KDLoss` of each token, without its cross entropy."""
    options = {"temperature": temperature, "alpha": 0.0, "reduction": "none"}
    loss = KDLoss("model", "output", "model", "output", **options)
    rows = [each[:, :-1].flatten(0, 1) for each in (student, teacher.detach())]
    io_student, io_teacher = ({"model": {"output": logits}} for logits in rows)
    return loss(io_student, io_teacher).sum(-1).view(len(student), -1)


LOSSES = [Peer("torchdistill KDLoss", kd, "forward_kl")]
