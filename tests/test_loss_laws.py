"""The laws of a loss, for every file in pipeline/losses."""

import ast
import re
from collections.abc import Callable

import laws
import pytest
import references
import tiny

from pipeline.losses import build_loss
from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.training.loop import train

NAMES = components.names("losses")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_every_loss_obeys(law: Callable[[laws.Subject], None], name: str) -> None:
    law(laws.subject(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_teacher_gets_no_gradient(name: str) -> None:
    run = tiny.run(build_loss(name, {}))
    list(train(run, tiny.plain_descent(run)))
    assert all(one.requires_grad and one.grad is None for one in run.teacher.model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_names_its_source(name: str) -> None:
    head = ast.get_docstring(ast.parse((components.PIPELINE / "losses" / f"{name}.py").read_text()))
    assert re.search(r"\b(19|20)\d\d\. ", head)
    assert re.search(r"arXiv:\d{4}\.\d{5}", head)


def test_every_loss_has_a_reference_and_a_method() -> None:
    assert set(NAMES) <= set(vars(references))
    assert set(NAMES) == {method.loss for method in METHODS.values()}


def test_what_tests_say_of_losses_is_said_of_losses_that_are() -> None:
    named = {*references.VARIANTS, *references.STATES, *references.PATHS}
    assert named <= set(NAMES)
