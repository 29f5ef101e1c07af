"""For every loss, each fault that it can have is noticed by a law."""

import laws
import mutations
import pytest
import tiny
import torch

from pipeline import catalog


@pytest.mark.parametrize("name", catalog.names("losses"))
@pytest.mark.parametrize("fault", mutations.MUTATIONS)
def test_a_faulty_loss_is_noticed(fault: str, name: str) -> None:
    subject = mutations.MUTATIONS[fault](name)
    assert subject is None or mutations.noticed_by(subject)


@pytest.mark.parametrize("name", catalog.names("losses"))
def test_a_loss_as_it_is_breaks_no_law(name: str) -> None:
    assert mutations.noticed_by(laws.subject(name)) is None


@pytest.mark.parametrize("name", sorted(mutations.SYMMETRIC))
def test_swapping_a_symmetric_loss_is_no_fault(name: str) -> None:
    case = tiny.case()
    loss = catalog.build_loss(name, {})
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    tokens = case.tokens({})
    torch.testing.assert_close(loss(p, q, tokens), loss(q, p, tokens))


def test_every_loss_has_a_mutant_of_its_distributions_and_of_its_mask() -> None:
    for name in set(catalog.names("losses")) - mutations.SYMMETRIC:
        assert mutations.swapped(name)
        assert mutations.unmasked(name)
