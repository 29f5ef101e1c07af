"""For every loss, each fault that it can have is noticed by a law."""

import mutations
import pytest
import tiny
import torch

from pipeline.losses import build_loss
from pipeline.methods import components


@pytest.mark.parametrize("name", components.names("losses"))
@pytest.mark.parametrize("fault", mutations.MUTATIONS)
def test_a_faulty_loss_is_noticed(fault: str, name: str) -> None:
    subject = mutations.MUTATIONS[fault](name)
    assert subject is None or mutations.noticed_by(subject)


@pytest.mark.parametrize("name", sorted(mutations.SYMMETRIC))
def test_swapping_a_symmetric_loss_is_no_fault(name: str) -> None:
    case = tiny.case()
    loss = build_loss(name, {})
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    tokens = case.tokens({})
    there, back = tiny.losses(loss, p, q, tokens), tiny.losses(loss, q, p, tokens)
    torch.testing.assert_close(there, back)


def test_every_loss_but_a_symmetric_one_can_have_its_distributions_swapped() -> None:
    swappable = {name for name in components.names("losses") if mutations.swapped(name)}
    assert swappable == set(components.names("losses")) - mutations.SYMMETRIC
