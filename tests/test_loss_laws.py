"""The laws of a loss, for every file in pipeline/losses."""

import ast
import re
from collections.abc import Callable

import laws
import pytest
import reference_cases
import tiny

from pipeline.losses import build_loss
from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.training.loop import train

NAMES = components.names("losses")
SOURCE = re.compile(r"\b(19|20)\d\d\. .*arXiv:\d{4}\.\d{5}", re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_every_loss_obeys(law: Callable[[laws.Subject], None], name: str) -> None:
    law(laws.subject(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_teacher_gets_no_gradient(name: str) -> None:
    run = tiny.run(build_loss(name, {}))
    list(train(run, tiny.plain_descent(run)))
    assert all(
        weight.requires_grad and weight.grad is None for weight in run.teacher.model.parameters()
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_names_its_source(name: str) -> None:
    path = components.PIPELINE / "losses" / f"{name}.py"
    head = ast.get_docstring(ast.parse(path.read_text())) or ""
    evidence = {method.evidence for method in METHODS.values() if method.loss == name}
    if evidence != {"own"}:
        assert SOURCE.search(head), (
            f"{path}: its docstring names no source as 'A. Author, 2025. Title. arXiv:2501.00001'; "
            'a loss without a publication has evidence="own" in pipeline/methods/catalogue.py'
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_has_a_method(name: str) -> None:
    assert name in {method.loss for method in METHODS.values()}, (
        f"no entry of METHODS in pipeline/methods/catalogue.py has loss={name!r}"
    )


def test_every_method_has_its_loss() -> None:
    assert {method.loss for method in METHODS.values()} <= set(NAMES)


def test_what_tests_say_of_losses_is_said_of_losses_that_are() -> None:
    named = {*reference_cases.VARIANTS, *reference_cases.STATES, *reference_cases.PATHS}
    assert named <= set(NAMES)
