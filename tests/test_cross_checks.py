"""Our losses against the code that people use, on the same logits.

Convention of β: it weighs the teacher, in the mixture and outside it, as in the GKD paper, in TRL
and in Liger. KDFlow and the DistiLLM repository put it on the student: their β is our 1 - β.
"""

import warnings
from collections.abc import Callable

import pytest
import tiny
import torch
from torch import Tensor

from pipeline.losses import forward_kl, jsd, reverse_kl

BETAS = (0.1, 0.3, 0.5, 0.9)
Divergence = Callable[[Tensor, Tensor, float], Tensor]  # student's and teacher's logits, β -> mean


def imported(module: str) -> object:
    """A package that only tests need. Skips the test where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both warn as they are imported: not of our making
        return pytest.importorskip(module, reason=f"{module} is not installed: pip install .[dev]")


@pytest.fixture(scope="module")
def trl() -> Divergence:
    """TRL's generalized_jsd_loss. It takes β = 0 and 1 to mean forward and reverse KL."""
    trainer = imported("trl.experimental.gkd.gkd_trainer").GKDTrainer

    def mean(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
        labels = torch.zeros(1, len(student), dtype=torch.long)
        return trainer.generalized_jsd_loss(student[None], teacher[None], labels, beta=beta)

    return mean


@pytest.fixture(scope="module")
def liger() -> Divergence:
    """Liger's chunked JSD, here with an identity for the head so that inputs are logits."""
    module = imported("liger_kernel.chunked_loss.jsd_loss")

    def mean(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
        loss = module.LigerFusedLinearJSDLoss(
            weight_hard_loss=0.0, weight_soft_loss=1.0, beta=beta, compiled=False, chunk_size=4
        )
        head = torch.eye(student.shape[-1], dtype=student.dtype)
        labels = torch.zeros(len(student), dtype=torch.long)
        return loss(student, head, teacher, head, labels).double()  # it sums in float32

    return mean


def ours(loss: object, case: tiny.Case) -> Tensor:
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    return loss(p, q, case.tokens({})).mean()


@pytest.mark.parametrize("peer", ["trl", "liger"])
@pytest.mark.parametrize("beta", BETAS)
def test_jsd_is_that_of(peer: str, beta: float, request: pytest.FixtureRequest) -> None:
    case, theirs = tiny.case(), request.getfixturevalue(peer)
    found = theirs(case.student, case.teacher, beta)
    torch.testing.assert_close(found, ours(jsd.Loss(beta), case), rtol=1e-6, atol=0)


@pytest.mark.parametrize("peer", ["trl", "liger"])
def test_ends_of_beta_are_kl_by_decree_of(peer: str, request: pytest.FixtureRequest) -> None:
    # by the formula JSD vanishes at both ends, which is why our β must lie strictly between
    case, theirs = tiny.case(), request.getfixturevalue(peer)
    for beta, loss in ((0, forward_kl.Loss()), (1, reverse_kl.Loss())):
        found = theirs(case.student, case.teacher, beta)
        torch.testing.assert_close(found, ours(loss, case), rtol=1e-6, atol=0)


@pytest.mark.parametrize("beta", BETAS)
def test_jsd_has_the_gradient_of_trl(beta: float, trl: Divergence) -> None:
    case = tiny.case()
    theirs, own = (case.student.clone().requires_grad_(True) for _ in range(2))
    trl(theirs, case.teacher, beta).backward()
    p = case.teacher.log_softmax(-1)
    jsd.Loss(beta)(p, own.log_softmax(-1), case.tokens({})).mean().backward()
    torch.testing.assert_close(theirs.grad, own.grad)


def test_kl_is_that_of_torch() -> None:
    # kl_div(input, target) is KL(target ‖ input)
    case = tiny.case()
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    kl_div = torch.nn.functional.kl_div
    forward = kl_div(q, p, log_target=True, reduction="batchmean")
    reverse = kl_div(p, q, log_target=True, reduction="batchmean")
    torch.testing.assert_close(forward, ours(forward_kl.Loss(), case))
    torch.testing.assert_close(reverse, ours(reverse_kl.Loss(), case))
